// The loss of a row of logits, and its gradient in their place.

// Of each row of z (n, width), of which the first `columns` are logits: the loss −ln softmax(z)[t], and z̅ = softmax(z) −
// [v = t] in place of z. Both are 0 where t is to be ignored, z̅ also in the columns that are none.
// One block takes one row. Its threads find the largest logit and Σ e^(z − largest) together, in one pass.
template <typename T>
__global__ void softmax_minus_target(T* z, const long long* targets, accumulator<T>* losses, long long columns,
                                     long long width, long long ignore_index) {
    using A = accumulator<T>;
    z += blockIdx.x * width;
    long long target = targets[blockIdx.x];
    A largest = -INFINITY, sum = 0, picked = 0;
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) {
        A x = z[v];
        if (x > largest) sum *= exp(largest - x), largest = x;
        if (x != -INFINITY) sum += exp(x - largest);  // at the start both are -inf
        if (v == target) picked = x;
    }
    A own = largest;
    largest = block_max(largest);
    sum = block_sum(sum * exp(own - largest));
    picked = block_sum(picked);
    A counts = target != ignore_index;
    if (threadIdx.x == 0) losses[blockIdx.x] = counts ? log(sum) - (picked - largest) : A(0);
    for (long long v = threadIdx.x; v < width; v += blockDim.x)
        z[v] = T(v < columns ? counts * (exp(A(z[v]) - largest) / sum - A(v == target)) : A(0));
}

// x ← x · factor, of a factor on the device
template <typename T>
__global__ void scale(T* x, const accumulator<T>* factor, long long n) {
    long long i = element();
    if (i < n) x[i] = T(accumulator<T>(x[i]) * *factor);
}

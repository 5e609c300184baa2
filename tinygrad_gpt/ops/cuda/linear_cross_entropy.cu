// The loss of a row of logits, and its gradient in their place.

// Of each row of z (n, width), of which the first `columns` are logits: the loss −ln softmax(z)[t], and z̅ = softmax(z) −
// [v = t] in place of z. Both are 0 where t is to be ignored.
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
    for (long long v = threadIdx.x; v < columns; v += blockDim.x)
        z[v] = T(counts * (exp(A(z[v]) - largest) / sum - A(v == target)));
}

// y = share · Σ losses,  share = 1 / the number of targets that count, at least 1. One block.
template <typename T>
__global__ void mean_loss(const accumulator<T>* losses, const long long* targets, accumulator<T>* y,
                          accumulator<T>* share, long long ignore_index, long long n) {
    using A = accumulator<T>;
    A sum = 0, count = 0;
    for (long long i = threadIdx.x; i < n; i += blockDim.x) sum += losses[i], count += A(targets[i] != ignore_index);
    sum = block_sum(sum), count = block_sum(count);
    if (threadIdx.x == 0) *share = 1 / (count > 1 ? count : A(1)), *y = sum / (count > 1 ? count : A(1));
}

// x ← x · ȳ · share, of factors on the device
template <typename T>
__global__ void scale(T* x, const accumulator<T>* g, const accumulator<T>* share, long long n) {
    using A = accumulator<T>;
    const long long i = first_element<T>();
    if (i >= n) return;
    Pack<T> numbers = load(x + i, n - i);
    for (T& number : numbers.at) number = T(A(number) * (*g * *share));
    store(x + i, numbers, n - i);
}

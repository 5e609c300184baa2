// Softmax and the cross-entropy of whole rows. One block takes one row of x (N, V).

// y = e^(x − max x) / Σ e^(x − max x)
template <typename T>
__global__ void softmax(const T* x, T* y, long long columns) {
    using A = accumulator<T>;
    x += blockIdx.x * columns, y += blockIdx.x * columns;
    A largest = -INFINITY, sum = 0;
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) largest = max(largest, A(x[v]));
    largest = block_max(largest);
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) sum += exp(A(x[v]) - largest);
    sum = block_sum(sum);
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) y[v] = T(exp(A(x[v]) - largest) / sum);
}

// x̄ = y ⊙ (ȳ − Σ ȳ ⊙ y)
template <typename T>
__global__ void softmax_grad(const T* g, const T* y, T* grad, long long columns) {
    using A = accumulator<T>;
    g += blockIdx.x * columns, y += blockIdx.x * columns, grad += blockIdx.x * columns;
    A sum = 0;
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) sum += A(g[v]) * A(y[v]);
    sum = block_sum(sum);
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) grad[v] = T(A(y[v]) * (A(g[v]) - sum));
}

// p = softmax(x), and of each row the loss w (1−s) (−ln p[t]) + s/V Σ_v c_v (−ln p_v) and its weight w = c[t]; both 0
// where t is to be ignored. c = 1 without class weights.
template <typename T>
__global__ void cross_entropy(const T* x, const long long* targets, const T* class_weight, T* p,
                              accumulator<T>* losses, accumulator<T>* weights, long long columns,
                              long long ignore_index, double smoothing) {
    using A = accumulator<T>;
    x += blockIdx.x * columns, p += blockIdx.x * columns;
    long long target = targets[blockIdx.x];
    A largest = -INFINITY, sum = 0, picked = 0, weight = 0, spread = 0, c_sum = 0;
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) largest = max(largest, A(x[v]));
    largest = block_max(largest);
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) {
        A shifted = A(x[v]) - largest, c = class_weight ? A(class_weight[v]) : A(1);
        sum += exp(shifted), spread += c * shifted, c_sum += c;
        if (v == target) picked = shifted, weight = c;
    }
    sum = block_sum(sum), picked = block_sum(picked), weight = block_sum(weight);
    spread = block_sum(spread), c_sum = block_sum(c_sum);
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) p[v] = T(exp(A(x[v]) - largest) / sum);
    if (threadIdx.x == 0) {
        bool counts = target != ignore_index;
        A s = smoothing, loss = (1 - s) * weight * (log(sum) - picked);
        if (s != 0) loss += s / columns * (c_sum * log(sum) - spread);  // a spread of infinity times 0 would be NaN
        losses[blockIdx.x] = counts ? loss : A(0);
        weights[blockIdx.x] = counts ? weight : A(0);
    }
}

// logits̅ = ȳ (p Σ_v q_v − q) / Σ_n w_n,  q_v = (1−s) w [v = t] + s/V c_v, 0 where ignored; scale = ȳ / Σ_n w_n
template <typename T>
__global__ void cross_entropy_grad(const T* p, const long long* targets, const T* class_weight,
                                   const accumulator<T>* scale, T* grad, long long columns, long long ignore_index,
                                   double smoothing) {
    using A = accumulator<T>;
    p += blockIdx.x * columns, grad += blockIdx.x * columns;
    long long target = targets[blockIdx.x];
    A share = A(smoothing) / columns, q_sum = 0, factor = target == ignore_index ? A(0) : *scale;
    auto q = [&](long long v) {
        A c = class_weight ? A(class_weight[v]) : A(1);
        return share * c + (v == target ? (1 - A(smoothing)) * c : A(0));
    };
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) q_sum += q(v);
    q_sum = block_sum(q_sum);
    for (long long v = threadIdx.x; v < columns; v += blockDim.x) grad[v] = T(factor * (A(p[v]) * q_sum - q(v)));
}

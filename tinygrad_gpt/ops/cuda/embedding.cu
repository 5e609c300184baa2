// The gradient of a table (V, C) whose rows were picked: the gradients of equal ids are added up.

// W̄[v] ← W̄[v] + Σ ȳ[n] over the n with ids[n] = v, always in the order of n. In ids[order] equal ids are neighbours.
// The blocks (i, ·) begin at place i of it; those at the first of equal ids do the sum, 256 columns each.
template <typename T>
__global__ void embedding_grad(const T* g, const long long* ids, const long long* order, T* grad, long long n,
                               long long rows, long long columns) {
    long long start = blockIdx.x, id = ids[order[start]], c = blockIdx.y * blockDim.x + threadIdx.x;
    bool first = start == 0 || ids[order[start - 1]] != id;
    if (!first || c >= columns || id < 0 || id >= rows) return;
    accumulator<T> sum = 0;
    for (long long i = start; i < n && ids[order[i]] == id; ++i) sum += accumulator<T>(g[order[i] * columns + c]);
    grad[id * columns + c] = T(accumulator<T>(grad[id * columns + c]) + sum);
}

// The same without sorting, faster; but which of equal ids comes first is chance, and with it the last digits.
template <typename T>
__global__ void embedding_grad_atomic(const T* g, const long long* ids, accumulator<T>* grad, long long rows,
                                      long long columns) {
    long long n = blockIdx.x, id = ids[n], c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c < columns && id >= 0 && id < rows)
        atomicAdd(&grad[id * columns + c], accumulator<T>(g[n * columns + c]));
}

// Norm and scaling of all gradients at once.
// Block b takes the elements spans[3b + 1] … spans[3b + 2] − 1 of the gradient number spans[3b].

// sums[b] = Σ g² of the elements of block b
template <typename T>
__global__ void square_sums(const T* const* grads, const long long* spans, accumulator<T>* sums) {
    const long long* span = spans + 3 * blockIdx.x;
    const T* g = grads[span[0]];
    accumulator<T> sum = 0;
    for (long long i = span[1] + threadIdx.x; i < span[2]; i += blockDim.x)
        sum += accumulator<T>(g[i]) * accumulator<T>(g[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// g ← scale · g
template <typename T>
__global__ void scale_all(T* const* grads, const long long* spans, double scale) {
    const long long* span = spans + 3 * blockIdx.x;
    T* g = grads[span[0]];
    constexpr int size = Pack<T>::size;
    for (long long i = span[1] + threadIdx.x * size; i < span[2]; i += blockDim.x * size) {
        Pack<T> numbers = load(g + i, span[2] - i);
        for (int k = 0; k < size; ++k) numbers.at[k] = T(accumulator<T>(numbers.at[k]) * accumulator<T>(scale));
        store(g + i, numbers, span[2] - i);
    }
}

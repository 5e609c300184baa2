// Beside the matrix products, which are cuBLAS's, the gradient of a bias.

// y = Σ_n x[n]: the first stage, sums (chunks, C). Block (k, i) takes 32 columns of the rows of chunk i.
template <typename T>
__global__ void sum_rows(const T* x, accumulator<T>* sums, long long rows, long long columns, long long chunk) {
    long long c = blockIdx.x * 32 + threadIdx.x, start = blockIdx.y * chunk;
    accumulator<T> sum = 0;
    for (long long row = start + threadIdx.y; c < columns && row < start + chunk && row < rows; row += blockDim.y)
        sum += accumulator<T>(x[row * columns + c]);
    sum = sum_over_y(sum);
    if (c < columns && threadIdx.y == 0) sums[blockIdx.y * columns + c] = sum;
}

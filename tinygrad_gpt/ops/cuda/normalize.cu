// Layer normalisation. One warp takes one row of x (N, C); a block holds blockDim.x / 32 rows.

// The row of this warp. Lane i takes the columns i, i + 32 ….
__device__ inline long long row_of_warp() { return blockIdx.x * (long long)(blockDim.x / 32) + threadIdx.x / 32; }

// y = γ ⊙ x̂ + β,  x̂ = (x − μ) · rstd,  rstd = 1 / √(σ² + ε)
template <typename T>
__global__ void layer_norm(const T* x, const T* weight, const T* bias, T* y, accumulator<T>* mean,
                           accumulator<T>* rstd, long long rows, long long columns, double eps) {
    using A = accumulator<T>;
    long long row = row_of_warp();
    if (row >= rows) return;
    x += row * columns, y += row * columns;
    A sum = 0, squares = 0;
    for (long long c = lane(); c < columns; c += 32) sum += A(x[c]);
    A mu = warp_sum(sum) / columns;
    for (long long c = lane(); c < columns; c += 32) squares += (A(x[c]) - mu) * (A(x[c]) - mu);
    A r = 1 / sqrt(warp_sum(squares) / columns + A(eps));
    for (long long c = lane(); c < columns; c += 32) y[c] = T(A(weight[c]) * ((A(x[c]) - mu) * r) + A(bias[c]));
    if (lane() == 0) mean[row] = mu, rstd[row] = r;
}

// x̄ = (d − mean(d) − x̂ ⊙ mean(d ⊙ x̂)) · rstd,  d = ȳ ⊙ γ
template <typename T>
__global__ void layer_norm_grad_x(const T* g, const T* x, const T* weight, const accumulator<T>* mean,
                                  const accumulator<T>* rstd, T* grad, long long rows, long long columns) {
    using A = accumulator<T>;
    long long row = row_of_warp();
    if (row >= rows) return;
    g += row * columns, x += row * columns, grad += row * columns;
    A mu = mean[row], r = rstd[row], sum_d = 0, sum_along = 0;
    for (long long c = lane(); c < columns; c += 32) {
        A d = A(g[c]) * A(weight[c]);
        sum_d += d;
        sum_along += d * ((A(x[c]) - mu) * r);
    }
    A mean_d = warp_sum(sum_d) / columns, mean_along = warp_sum(sum_along) / columns;
    for (long long c = lane(); c < columns; c += 32) {
        A d = A(g[c]) * A(weight[c]), x_hat = (A(x[c]) - mu) * r;
        grad[c] = T((d - mean_d - x_hat * mean_along) * r);
    }
}

// γ̄ = Σ ȳ ⊙ x̂,  β̄ = Σ ȳ: the first stage, sums (chunks, 2, C). Block (k, i) takes 32 columns of the rows of chunk i.
template <typename T>
__global__ void layer_norm_grad_weights(const T* g, const T* x, const accumulator<T>* mean, const accumulator<T>* rstd,
                                        accumulator<T>* sums, long long rows, long long columns, long long chunk) {
    using A = accumulator<T>;
    long long c = blockIdx.x * 32 + threadIdx.x, start = blockIdx.y * chunk;
    A weight_sum = 0, bias_sum = 0;
    for (long long row = start + threadIdx.y; c < columns && row < start + chunk && row < rows; row += blockDim.y) {
        A d = A(g[row * columns + c]);
        weight_sum += d * ((A(x[row * columns + c]) - mean[row]) * rstd[row]);
        bias_sum += d;
    }
    weight_sum = sum_over_y(weight_sum), bias_sum = sum_over_y(bias_sum);
    sums += blockIdx.y * 2 * columns;
    if (c < columns && threadIdx.y == 0) sums[c] = weight_sum, sums[columns + c] = bias_sum;
}

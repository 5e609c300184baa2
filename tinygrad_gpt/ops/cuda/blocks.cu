// What lies between the matrix products and the attention of a stack of transformer blocks. The residual stream and the
// norms are of the type A that kernels calculate in, what goes into a product and comes out of it is of type T.

// y[k, i] = bias[k], in all rows i of the matrices k (rows, columns): a product is added to it.
// Grid: (rows, 256 columns each, matrices).
template <typename T>
__global__ void fill_rows(const T* const* bias, T* y, long long columns) {
    long long c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c < columns) y[(blockIdx.z * (long long)gridDim.x + blockIdx.x) * columns + c] = bias[blockIdx.z][c];
}

// By what dropout multiplies the number at a place, 0 or 1 / (1 − p); 1 where there is none (`least` is 0).
template <typename A>
struct Drop {
    unsigned seed, seed_high, least, start;
    A raised;

    __device__ A operator()(long long place) const {
        return !least ? A(1) : random_bits(start + place, seed, seed_high) >= least ? raised : A(0);
    }
};

// s = x + drop(t + b), and y = layer_norm(s). Without t: s = x, which is not written again; without weights: no y.
// A warp takes a row; lane i the columns i, i + 32 ….
template <typename T>
__global__ void add_norm(const accumulator<T>* x, const T* t, const T* bias, const accumulator<T>* weight,
                         const accumulator<T>* shift, accumulator<T>* s, T* y, accumulator<T>* mean,
                         accumulator<T>* rstd, long long rows, long long columns, double eps, long long seed,
                         long long seed_high, long long least, long long start, double raised) {
    using A = accumulator<T>;
    const Drop<A> drop{unsigned(seed), unsigned(seed_high), unsigned(least), unsigned(start), A(raised)};
    long long row = blockIdx.x * (long long)(blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    x += row * columns;
    A sum = 0, squares = 0;
    if (t) {
        t += row * columns, s += row * columns;
        for (long long c = lane(); c < columns; c += 32) s[c] = x[c] + drop(row * columns + c) * (A(t[c]) + A(bias[c]));
        x = s;
    }
    if (!weight) return;
    for (long long c = lane(); c < columns; c += 32) sum += x[c];
    A mu = warp_sum(sum) / columns;
    for (long long c = lane(); c < columns; c += 32) squares += (x[c] - mu) * (x[c] - mu);
    A r = 1 / sqrt(warp_sum(squares) / columns + A(eps));
    y += row * columns;
    for (long long c = lane(); c < columns; c += 32) y[c] = T(weight[c] * ((x[c] - mu) * r) + shift[c]);
    if (lane() == 0) mean[row] = mu, rstd[row] = r;
}

// s̄ = above + (d − mean(d) − x̂ ⊙ mean(d ⊙ x̂)) · rstd,  d = ȳ ⊙ γ,  where above is the gradient of s from the stream;
// t̄ = drop(s̄), rounded to T; and sums of the rows of this block, (blocks, 3, C): γ̄ = Σ ȳ ⊙ x̂,  β̄ = Σ ȳ,  b̄ = Σ t̄.
// Without g there was no norm: s̄ = above. Block k takes the rows from k · chunk on, 8 at a time: first a warp finds the
// two means of a row, then a thread takes a column of the 8 rows.
template <typename T>
__global__ void add_norm_grad(const T* g, const accumulator<T>* s, const accumulator<T>* weight,
                              const accumulator<T>* mean, const accumulator<T>* rstd, const accumulator<T>* above,
                              accumulator<T>* grad_s, T* grad_t, accumulator<T>* sums, long long rows,
                              long long columns, long long chunk, long long seed, long long seed_high,
                              long long least, long long begin, double raised) {
    using A = accumulator<T>;
    const Drop<A> drop{unsigned(seed), unsigned(seed_high), unsigned(least), unsigned(begin), A(raised)};
    __shared__ A means[8][2];
    const long long start = blockIdx.x * chunk, stop = start + chunk < rows ? start + chunk : rows;
    sums += blockIdx.x * 3 * columns;
    for (long long c = threadIdx.x; c < 3 * columns; c += blockDim.x) sums[c] = 0;
    for (long long first = start; first < stop; first += 8) {
        __syncthreads();  // the means before are read, and sums are 0
        const long long row = first + threadIdx.x / 32;
        if (g && row < stop) {
            A sum = 0, along = 0;
            for (long long c = lane(); c < columns; c += 32) {
                A d = A(g[row * columns + c]) * weight[c];
                sum += d;
                along += d * ((s[row * columns + c] - mean[row]) * rstd[row]);
            }
            sum = warp_sum(sum) / columns, along = warp_sum(along) / columns;
            if (lane() == 0) means[row - first][0] = sum, means[row - first][1] = along;
        }
        __syncthreads();
        for (long long c = threadIdx.x; c < columns; c += blockDim.x) {
            A weight_sum = 0, shift_sum = 0, bias_sum = 0;
            for (long long r = first; r < first + 8 && r < stop; ++r) {
                const long long i = r * columns + c;
                A grad = above ? above[i] : A(0);
                if (g) {
                    A y = g[i], x_hat = (s[i] - mean[r]) * rstd[r];
                    grad += (y * weight[c] - means[r - first][0] - x_hat * means[r - first][1]) * rstd[r];
                    weight_sum += y * x_hat, shift_sum += y;
                }
                grad_s[i] = grad;
                const A dropped = drop(i) * grad;
                bias_sum += dropped;
                if (grad_t) grad_t[i] = T(dropped);
            }
            sums[c] += weight_sum, sums[columns + c] += shift_sum, sums[2 * columns + c] += bias_sum;
        }
    }
}

// The first stage of the sums over the rows of matrices (k, rows, C): sums (k, chunks, C).
// Block (j, i, k) takes 32 columns of the rows of chunk i of matrix k, with 32 × 8 threads.
template <typename T>
__global__ void sum_rows_of_each(const T* x, accumulator<T>* sums, long long rows, long long columns, long long chunk) {
    long long c = blockIdx.x * 32 + threadIdx.x, start = blockIdx.y * chunk;
    x += blockIdx.z * rows * columns;
    accumulator<T> sum = 0;
    for (long long row = start + threadIdx.y; c < columns && row < start + chunk && row < rows; row += blockDim.y)
        sum += accumulator<T>(x[row * columns + c]);
    sum = sum_over_y(sum);
    if (c < columns && threadIdx.y == 0) sums[(blockIdx.z * (long long)gridDim.y + blockIdx.y) * columns + c] = sum;
}

// The second stage: y (k, C) = Σ_i sums (k, i, C). Block (j, k) takes 32 columns, with 32 × 8 threads.
template <typename T>
__global__ void sum_chunks_of_each(const accumulator<T>* sums, accumulator<T>* y, long long chunks, long long columns) {
    long long c = blockIdx.x * 32 + threadIdx.x;
    sums += blockIdx.y * chunks * columns;
    accumulator<T> sum = 0;
    for (long long i = threadIdx.y; c < columns && i < chunks; i += blockDim.y) sum += sums[i * columns + c];
    sum = sum_over_y(sum);
    if (c < columns && threadIdx.y == 0) y[blockIdx.y * columns + c] = sum;
}

// copies[k] = originals[k] rounded to T. Block b takes the elements spans[3b + 1] … spans[3b + 2] − 1 of the original
// number spans[3b].
template <typename T>
__global__ void round_all(const float* const* originals, T* const* copies, const long long* spans) {
    const long long* span = spans + 3 * blockIdx.x;
    const float* from = originals[span[0]];
    T* to = copies[span[0]];
    constexpr int size = Pack<T>::size;
    for (long long i = span[1] + threadIdx.x * size; i < span[2]; i += blockDim.x * size) {
        Pack<T> rounded;
        for (int part = 0; part < size; part += 4) {
            const Pack<float> numbers = load(from + i + part, span[2] - i - part);
            for (int k = 0; k < 4 && part + k < size; ++k) rounded.at[part + k] = T(numbers.at[k]);
        }
        store(to + i, rounded, span[2] - i);
    }
}

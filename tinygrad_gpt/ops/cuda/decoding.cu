// Products of few rows, as decoding has them: with what comes before and behind them they are one kernel, which takes as
// long as reading the weights. The residual stream is of the type A that kernels calculate in.
//
// A block makes 32 columns of 8 rows at most, with 32 × 32 threads: thread (c, j) adds up the products of column c with
// the weights of every 32nd input from j on, and thread (c, r) has the total of row r. The bounds keep a thread within
// the 64 registers that 1,024 threads can have.

constexpr int FEW = 8;     // rows of a block
constexpr int SLICES = 32;  // of the inputs

// value(r, k) is input k of row r.
template <typename T, typename Value>
__device__ accumulator<T> few_products(Value value, const T* weight, const T* bias, int rows, long long n_in,
                                       long long n_out) {
    using A = accumulator<T>;
    __shared__ A parts[SLICES][32];
    const long long c = blockIdx.x * 32 + threadIdx.x;
    A sums[FEW] = {}, total = bias && c < n_out ? A(bias[c]) : A(0);
    for (long long k = threadIdx.y; c < n_out && k < n_in; k += SLICES) {
        const A w = weight[k * n_out + c];
#pragma unroll
        for (int r = 0; r < FEW; ++r)
            if (r < rows) sums[r] += value(r, k) * w;
    }
#pragma unroll
    for (int r = 0; r < FEW; ++r) {
        if (r >= rows) break;
        __syncthreads();  // the parts before are read
        parts[threadIdx.y][threadIdx.x] = sums[r];
        __syncthreads();
        for (int j = 0; threadIdx.y == r && j < SLICES; ++j) total += parts[j][threadIdx.x];
    }
    return total;
}

// The layer norm of some rows of x (N, C) as a value; warp r finds the two numbers of row r.
template <typename T>
struct Norm {
    using A = accumulator<T>;
    const A *x, *weight, *shift, *means, *rstds;
    long long columns;

    __device__ A operator()(int r, long long k) const {
        return A(T(weight[k] * ((x[r * columns + k] - means[r]) * rstds[r]) + shift[k]));
    }
};

template <typename T>
__device__ Norm<T> norm_of_rows(const accumulator<T>* x, const accumulator<T>* weight, const accumulator<T>* shift,
                                int rows, long long columns, double eps) {
    using A = accumulator<T>;
    __shared__ A means[FEW], rstds[FEW];
    const int r = threadIdx.y;
    if (r < rows) {
        A sum = 0, squares = 0;
        for (long long c = threadIdx.x; c < columns; c += 32) sum += x[r * columns + c];
        const A mu = warp_sum(sum) / columns;
        for (long long c = threadIdx.x; c < columns; c += 32)
            squares += (x[r * columns + c] - mu) * (x[r * columns + c] - mu);
        squares = warp_sum(squares);
        if (threadIdx.x == 0) means[r] = mu, rstds[r] = 1 / sqrt(squares / columns + A(eps));
    }
    __syncthreads();
    return {x, weight, shift, means, rstds, columns};
}

// Rows from `first` on of this block, of N.
__device__ inline int few_rows(long long first, long long rows) { return rows - first < FEW ? int(rows - first) : FEW; }

// norm(x) W + b = queries (N, C), and keys and values, which go to the places of the tokens in caches
// (N, H, capacity, D). Grid: (32 columns of 3C each, 8 rows each).
template <typename T>
__global__ void __launch_bounds__(1024)
norm_qkv(const accumulator<T>* x, const accumulator<T>* norm_weight, const accumulator<T>* norm_shift,
                         const T* weight, const T* bias, T* queries, T* keys, T* values, const long long* positions,
                         long long rows, long long columns, long long D, long long capacity, double eps) {
    const long long first = blockIdx.y * FEW, c = blockIdx.x * 32 + threadIdx.x, row = first + threadIdx.y;
    const int count = few_rows(first, rows);
    auto norm = norm_of_rows<T>(x + first * columns, norm_weight, norm_shift, count, columns, eps);
    const T y = T(few_products<T>(norm, weight, bias, count, columns, 3 * columns));
    if (threadIdx.y >= count || c >= 3 * columns) return;
    const long long place = c % columns, head = row * (columns / D) + place / D;
    T* cache = c < 2 * columns ? keys : values;
    if (c < columns) queries[row * columns + c] = y;
    else cache[(head * capacity + positions[row]) * D + place % D] = y;
}

// y = gelu(norm(x) W + b)
template <typename T>
__global__ void __launch_bounds__(1024)
norm_fc_gelu(const accumulator<T>* x, const accumulator<T>* norm_weight,
                             const accumulator<T>* norm_shift, const T* weight, const T* bias, T* y, long long rows,
                             long long n_in, long long n_out, double eps) {
    using A = accumulator<T>;
    const long long first = blockIdx.y * FEW, c = blockIdx.x * 32 + threadIdx.x;
    const int count = few_rows(first, rows);
    auto norm = norm_of_rows<T>(x + first * n_in, norm_weight, norm_shift, count, n_in, eps);
    const A z = few_products<T>(norm, weight, bias, count, n_in, n_out);
    if (threadIdx.y < count && c < n_out) y[(first + threadIdx.y) * n_out + c] = T(z * half_tanh(z));
}

// s = x + t W + b; s may be x.
template <typename T>
__global__ void __launch_bounds__(1024)
add_product(const T* t, const T* weight, const T* bias, const accumulator<T>* x, accumulator<T>* s,
                            long long rows, long long n_in, long long n_out) {
    using A = accumulator<T>;
    const long long first = blockIdx.y * FEW, c = blockIdx.x * 32 + threadIdx.x, i = (first + threadIdx.y) * n_out + c;
    const int count = few_rows(first, rows);
    auto value = [&](int r, long long k) { return A(t[(first + r) * n_in + k]); };
    const A z = few_products<T>(value, weight, bias, count, n_in, n_out);
    if (threadIdx.y < count && c < n_out) s[i] = x[i] + z;
}

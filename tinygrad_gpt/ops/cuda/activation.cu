// GELU in the tanh form, alone and with the bias of the layer before it.

// y = gelu(x)
template <typename T>
__global__ void gelu(const T* x, T* y, long long n) {
    using A = accumulator<T>;
    const long long i = first_element<T>();
    if (i >= n) return;
    Pack<T> numbers = load(x + i, n - i);
    for (T& number : numbers.at) number = T(A(number) * half_tanh(A(number)));
    store(y + i, numbers, n - i);
}

// x̄ = ȳ ⊙ gelu′(x)
template <typename T>
__global__ void gelu_grad(const T* g, const T* x, T* grad, long long n) {
    using A = accumulator<T>;
    const long long i = first_element<T>();
    if (i >= n) return;
    Pack<T> numbers = load(x + i, n - i), grads = load(g + i, n - i);
    for (int k = 0; k < Pack<T>::size; ++k) grads.at[k] = T(A(grads.at[k]) * gelu_slope(A(numbers.at[k])));
    store(grad + i, grads, n - i);
}

// y = gelu(z),  z = x + b, of x (N, C). Block (n, k) takes 256 packs of columns of row n.
template <typename T>
__global__ void bias_gelu(const T* x, const T* bias, T* y, long long columns) {
    using A = accumulator<T>;
    long long c = (blockIdx.y * blockDim.x + threadIdx.x) * Pack<T>::size, i = blockIdx.x * columns + c;
    if (c >= columns) return;
    Pack<T> numbers = load(x + i, columns - c), b = load(bias + c, columns - c);
    for (int k = 0; k < Pack<T>::size; ++k) {
        A z = A(numbers.at[k]) + A(b.at[k]);
        numbers.at[k] = T(z * half_tanh(z));
    }
    store(y + i, numbers, columns - c);
}

// x̄ = ȳ ⊙ gelu′(z),  b̄ = Σ x̄: the first stage, sums (chunks, C). Block (k, i) takes 32 columns of the rows of chunk i.
template <typename T>
__global__ void bias_gelu_grad(const T* g, const T* x, const T* bias, T* grad, accumulator<T>* sums, long long rows,
                               long long columns, long long chunk) {
    using A = accumulator<T>;
    long long c = blockIdx.x * 32 + threadIdx.x, start = blockIdx.y * chunk;
    A sum = 0;
    for (long long row = start + threadIdx.y; c < columns && row < start + chunk && row < rows; row += blockDim.y) {
        long long i = row * columns + c;
        A d = A(g[i]) * gelu_slope(A(x[i]) + A(bias[c]));
        grad[i] = T(d);
        sum += d;
    }
    sum = sum_over_y(sum);
    if (c < columns && threadIdx.y == 0) sums[blockIdx.y * columns + c] = sum;
}

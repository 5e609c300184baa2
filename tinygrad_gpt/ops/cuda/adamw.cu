// AdamW on all parameters at once.

// m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  p ← kept · p − rate · m / (√v + ε)
// with kept = 1 − lr λ, and with rate and ε that undo the start of m and v at 0 (see adamw.py).
// Block b takes the elements spans[3b + 1] … spans[3b + 2] − 1 of the parameter number spans[3b].
template <typename T>
__global__ void adamw(T* const* parameters, const T* const* grads, T* const* means, T* const* squares,
                      const long long* spans, double beta1, double beta2, double kept, double rate, double eps) {
    using A = accumulator<T>;
    const long long* span = spans + 3 * blockIdx.x;
    T *p = parameters[span[0]], *m = means[span[0]], *v = squares[span[0]];
    const T* g = grads[span[0]];
    for (long long i = span[1] + threadIdx.x; i < span[2]; i += blockDim.x) {
        A new_m = A(m[i]) + (A(g[i]) - A(m[i])) * A(1 - beta1);
        A new_v = A(v[i]) * A(beta2) + A(g[i]) * A(g[i]) * A(1 - beta2);
        m[i] = T(new_m), v[i] = T(new_v);
        p[i] = T(A(p[i]) * A(kept) - new_m / (sqrt(new_v) + A(eps)) * A(rate));
    }
}

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
    constexpr int size = Pack<T>::size;
    for (long long i = span[1] + threadIdx.x * size; i < span[2]; i += blockDim.x * size) {
        const long long count = span[2] - i;
        Pack<T> ps = load(p + i, count), ms = load(m + i, count), vs = load(v + i, count);
        const Pack<T> gs = load(g + i, count);
        for (int k = 0; k < size; ++k) {
            const A gradient = gs.at[k], old_m = ms.at[k];
            const A new_m = old_m + (gradient - old_m) * A(1 - beta1);
            const A new_v = A(vs.at[k]) * A(beta2) + gradient * gradient * A(1 - beta2);
            ms.at[k] = T(new_m), vs.at[k] = T(new_v);
            ps.at[k] = T(A(ps.at[k]) * A(kept) - new_m / (sqrt(new_v) + A(eps)) * A(rate));
        }
        store(m + i, ms, count), store(v + i, vs, count), store(p + i, ps, count);
    }
}

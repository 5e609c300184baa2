// Dropout, and its masks.

// y = x ⊙ keep / (1 − p), with scale = 1 / (1 − p); the same of ȳ is x̄.
template <typename T>
__global__ void dropout(const T* x, const bool* keep, T* y, double scale, long long n) {
    using A = accumulator<T>;
    long long i = element();
    if (i < n) y[i] = T(A(x[i]) * A(keep[i]) * A(scale));
}

// Is the hash of a place, with the two parts of the seed, `least` at least? `start` places are before these.
// Compiled as: keep_mask
__global__ void keep_mask(bool* keep, long long seed, long long seed_high, long long least, long long start,
                          long long n) {
    long long i = element();
    if (i < n) keep[i] = random_bits(start + i, seed, seed_high) >= least;
}

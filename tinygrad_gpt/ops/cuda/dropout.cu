// Dropout, and its masks.

// y = x ⊙ keep / (1 − p), with scale = 1 / (1 − p); the same of ȳ is x̄.
template <typename T>
__global__ void dropout(const T* x, const bool* keep, T* y, double scale, long long n) {
    using A = accumulator<T>;
    const long long i = first_element<T>();
    if (i >= n) return;
    Pack<T> numbers = load(x + i, n - i);
    for (int k = 0; k < Pack<T>::size && i + k < n; ++k) numbers.at[k] = T(A(numbers.at[k]) * A(keep[i + k]) * A(scale));
    store(y + i, numbers, n - i);
}

// Is the hash of a place, with the two parts of the seed, `least` at least? `start` places are before these.
// Compiled as: keep_mask
__global__ void keep_mask(bool* keep, long long seed, long long seed_high, long long least, long long start,
                          long long n) {
    const long long i = first_element<bool>();
    if (i >= n) return;
    Pack<bool> kept;
    for (int k = 0; k < Pack<bool>::size; ++k) kept.at[k] = random_bits(start + i + k, seed, seed_high) >= least;
    store(keep + i, kept, n - i);
}

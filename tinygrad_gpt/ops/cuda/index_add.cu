// Values added to places of an array, of which some may be met more than once.

// target[p] += Σ values[i] over the i with places[i] = p, always in the order of i. A place is a row of `columns`
// numbers. `sorted` is places[order], where equal places are neighbours; the first of them does the sum.
template <typename T>
__global__ void index_add(const T* values, const long long* sorted, const long long* order, T* target, long long columns,
                          long long n) {
    const long long e = element(), start = e / columns, c = e % columns;
    if (start >= n || (start > 0 && sorted[start - 1] == sorted[start])) return;
    T& place = target[sorted[start] * columns + c];
    accumulator<T> sum = accumulator<T>(place);
    for (long long i = start; i < n && sorted[i] == sorted[start]; ++i)
        sum += accumulator<T>(values[order[i] * columns + c]);
    place = T(sum);
}

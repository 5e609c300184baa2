// Causal attention of which the n × m scores are never whole: they are made tile by tile, and again on the way back.
//
//   S = q kᵀ / √D,  A = softmax(S) over the keys that a query may see,  U = A ⊙ keep / (1 − p),  y = U v
//
//   forward    a block takes 64 queries and passes over the keys, tile by tile. A row's largest score may grow on the
//              way; what is summed up by then is scaled down to it ("online softmax"). Of A it keeps one number a row,
//              log₂ Σ 2^S₂ with the scores in units of powers of two, S₂ = S · log₂ e.
//   backward   Ā = (ȳ vᵀ) ⊙ keep / (1 − p),  S̄ = A ⊙ (Ā − δ),  δ = Σ Ā ⊙ A over a row, which is Σ ȳ ⊙ y:
//              a block takes 64 queries and passes over the keys for q̄ = S̄ k / √D; another one takes 64 keys and
//              passes over the queries for v̄ = Uᵀ ȳ and k̄ = S̄ᵀ q / √D. Each sum is made by one thread, in one
//              order: the same bits at every run.
//
// Source: Dao 2023, arXiv:2307.08691; Milakov and Gimelshein 2018, arXiv:1805.02867.

constexpr int THREADS = 128;  // of a block: 4 warps
constexpr int ROWS = 64;      // of a block: 16 to a warp

// Of the other side OTHERS rows pass by in a tile. How many, and which Product multiplies them, attention.py chooses for
// each card: `kernel_for`.

// -- What the kernels are given: arrays of any steps (elements from one text, head and row to the next; the numbers of
// a row lie side by side). Query i sees the keys up to i + ahead. `raised` is 1 / (1 − p).

#define PARAMETERS                                                                                              \
    const T *q, const T *k, const T *v, const bool *allowed, const bool *keep, long long n, long long m,        \
        long long D, long long ahead, double raised, long long seed, long long seed_high, long long least,      \
        long long start, long long q_text, long long q_head, long long q_row, long long k_text, long long k_head,\
        long long k_row, long long allowed_text, long long allowed_head, long long allowed_row

// The one head of one text that a block works on; arrays of shape (B, n, H · D), and those (B, H, n), have no gaps.
#define HEAD                                                                                                    \
    Head<T> {                                                                                                   \
        q + blockIdx.z * q_text + blockIdx.y * q_head, k + blockIdx.z * k_text + blockIdx.y * k_head,           \
            v + blockIdx.z * k_text + blockIdx.y * k_head,                                                      \
            allowed ? allowed + blockIdx.z * allowed_text + blockIdx.y * allowed_head : nullptr, keep,          \
            (blockIdx.z * gridDim.y + blockIdx.y) * n * m, q_row, k_row, allowed_row, unsigned(seed),           \
            unsigned(seed_high), unsigned(least), unsigned(start), int(n), int(m), int(D), int(ahead),          \
            accumulator<T>(raised)                                                                              \
    }

enum Side { QUERIES, KEYS };  // what the rows of a sheet are; its columns are the other ones

template <typename T>
struct Head {
    using A = accumulator<T>;
    const T *q, *k, *v;
    const bool *allowed, *keep;
    long long first_weight, q_row, k_row, allowed_row;  // of this head among all weights
    unsigned seed, seed_high, least, start;
    int n, m, D, ahead;
    A raised;

    __device__ A scale() const { return 1 / sqrt(A(D)); }
    __device__ A scale_of_two() const { return A(1.4426950408889634) * scale(); }  // log₂ e / √D

    __device__ bool sees(int query, int key) const {
        return query < n && key < m && key <= query + ahead && (!allowed || allowed[query * allowed_row + key]);
    }

    // −∞ for the scores of queries and keys, from these two on, where the query may not see the key.
    template <int COLUMNS>
    __device__ void hide(Sheet<A, COLUMNS>& scores, Side rows, int query, int key) const {
        const int last_key = key + (rows == KEYS ? ROWS : COLUMNS) - 1;
        if (!allowed && last_key < m && last_key <= query + ahead) return;  // all of them see all
        scores.each([&](A& score, int half, int column) {
            const int row = sheet_row(half);
            if (!sees(query + (rows == KEYS ? column : row), key + (rows == KEYS ? row : column))) score = -INFINITY;
        });
    }

    // What dropout makes of the weights of queries and keys, from these two on: ⊙ keep / (1 − p). The mask is an array,
    // or its hash is made here, where `least` is not 0.
    template <int COLUMNS>
    __device__ void drop(Sheet<A, COLUMNS>& weights, Side rows, int query, int key) const {
        if (!keep && !least) return;
        weights.each([&](A& weight, int half, int column) {
            const int row = sheet_row(half), i = query + (rows == KEYS ? column : row);
            const int j = key + (rows == KEYS ? row : column);
            const long long place = first_weight + i * (long long)m + j;
            const bool kept = keep ? i < n && j < m && keep[place] : random_bits(start + place, seed, seed_high) >= least;
            weight *= kept ? raised : A(0);
        });
    }

    // Where a row of an array (B, n, H · D) begins: those of this head, and from one to the next.
    __device__ long long merged() const { return (blockIdx.z * (long long)n * gridDim.y + blockIdx.y) * D; }
    __device__ long long merged_row() const { return (long long)gridDim.y * D; }
    // Where the numbers of this head begin in an array (B, H, n).
    __device__ long long rows() const { return (blockIdx.z * (long long)gridDim.y + blockIdx.y) * n; }
};

// Copy rows of an array to shared memory, with zeros behind its last row and column.
template <typename Product, int COUNT, typename T, int WIDTH>
__device__ void copy_rows(Row<T, WIDTH>* to, const T* from, long long step, int n_rows, int n_columns) {
    constexpr int size = Pack<T>::size, packs = WIDTH / size, turns = COUNT * packs / THREADS;
    static_assert(turns * THREADS == COUNT * packs, "each thread copies as many packs");
    if (n_columns < WIDTH || step % size || reinterpret_cast<size_t>(from) % 16) {  // not made of whole packs
        for (int i = threadIdx.x; i < COUNT * WIDTH; i += THREADS) {
            const int row = i / WIDTH, column = i % WIDTH;
            const bool there = row < n_rows && column < n_columns;
            to[row].at[column] = there ? Product::rounded(from[row * step + column]) : T(0);
        }
        return;
    }
    const int row = threadIdx.x / packs, column = threadIdx.x % packs * size;
    Pack<T> numbers[turns];  // all on their way before a thread waits for the first
#pragma unroll
    for (int i = 0; i < turns; ++i) {
        const int below = row + i * (THREADS / packs);
        numbers[i] = below < n_rows ? pack(from[below * step + column]) : Pack<T>{};
    }
#pragma unroll
    for (int i = 0; i < turns; ++i) {
        for (int x = 0; x < size; ++x) numbers[i].at[x] = Product::rounded(numbers[i].at[x]);
        pack(to[row + i * (THREADS / packs)].at[column]) = numbers[i];
    }
}

// Write those rows of a sheet, from row `first` of an array on, that the array has.
template <typename T, typename A, int WIDTH>
__device__ void write_rows(Sheet<A, WIDTH>& sheet, T* to, long long step, int first, int n_rows, int n_columns,
                           const A (&factors)[2]) {
    sheet.each([&](A& value, int half, int column) {
        const int row = first + sheet_row(half);
        if (row < n_rows && column < n_columns) to[row * step + column] = T(value * factors[half]);
    });
}

extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];

template <typename T, int WIDTH, int OTHERS>
struct Tiles {  // of the forward pass
    Row<T, WIDTH> q[ROWS], k[OTHERS], v[OTHERS];
};

// y (B, n, H · D) and log_sums (B, H, n). The keys of a row may be spread over `parts` blocks, that few queries keep
// many processors busy; then y and log_sums have an axis more, in front, and `combine` follows.
// Grid: (tiles of queries · parts, H, B).
template <template <typename> class Product, typename T, int WIDTH, int OTHERS>
__global__ void __launch_bounds__(THREADS)
attend(PARAMETERS, long long parts, T* y, accumulator<T>* log_sums) {
    using A = accumulator<T>;
    auto& tiles = *reinterpret_cast<Tiles<T, WIDTH, OTHERS>*>(dynamic_shared_memory);
    const Head<T> head = HEAD;
    const int part = blockIdx.x % parts;
    const int first = (gridDim.x / parts - 1 - blockIdx.x / parts) * ROWS;  // the longest rows begin first
    const int span = ((m + OTHERS - 1) / OTHERS + parts - 1) / parts * OTHERS;
    const int stop = min(head.m, min(part * span + span, first + ROWS + head.ahead));
    const A scale = head.scale_of_two(), lowest = -1e38;
    A largest[2] = {lowest, lowest}, sum[2] = {0, 0};
    Sheet<A, WIDTH> result;
    result.clear();
    copy_rows<Product<T>, ROWS>(tiles.q, head.q + first * q_row, q_row, head.n - first, head.D);

    for (int key = part * span; key < stop; key += OTHERS) {
        __syncthreads();  // the tiles before are read
        copy_rows<Product<T>, OTHERS>(tiles.k, head.k + key * k_row, k_row, head.m - key, head.D);
        copy_rows<Product<T>, OTHERS>(tiles.v, head.v + key * k_row, k_row, head.m - key, head.D);
        __syncthreads();
        if (first + warp_row() >= n) continue;  // this warp has no rows: it only helps to copy
        Sheet<A, OTHERS> weights;
        weights.clear();
        Product<T>::by_rows(weights, tiles.q + warp_row(), tiles.k);
        head.hide(weights, QUERIES, first, key);
        A shrink[2] = {largest[0], largest[1]};
        weights.each([&](A& score, int half, int) { largest[half] = max(largest[half], score); });
        for (int half = 0; half < 2; ++half) {
            largest[half] = row_max(largest[half]);
            shrink[half] = exp2((shrink[half] - largest[half]) * scale);
            sum[half] *= shrink[half];
        }
        weights.each([&](A& score, int half, int) {
            score = exp2((score - largest[half]) * scale);  // in this order: 1 for the largest, however large it is
            sum[half] += score;
        });
        head.drop(weights, QUERIES, first, key);
        result.each([&](A& value, int half, int) { value *= shrink[half]; });
        Product<T>::by_columns(result, weights, tiles.v);
    }

    A factors[2];
    for (int half = 0; half < 2; ++half) {
        sum[half] = row_sum(sum[half]);
        factors[half] = sum[half] > 0 ? 1 / sum[half] : sum[half];  // a query that sees no key: 0 (and NaN stays NaN)
        const int row = first + sheet_row(half);
        if (lane() % 4 == 0 && row < n)
            log_sums[part * (n * gridDim.y * gridDim.z) + head.rows() + row] =
                sum[half] == 0 ? A(INFINITY) : largest[half] * scale + log2(sum[half]);  // and its weights are 2^−∞
    }
    y += part * (n * D * gridDim.y * gridDim.z) + head.merged();
    write_rows(result, y, head.merged_row(), first, head.n, head.D, factors);
}

// The results of all parts of the keys as one: y = Σ 2^(log_sums − largest) ⊙ part_y / Σ 2^(log_sums − largest).
// A warp makes a row. Grid: (rows / 4, H, B).
template <typename T>
__global__ void combine(const T* part_y, const accumulator<T>* part_log_sums, long long parts, long long n, long long D,
                        T* y, accumulator<T>* log_sums) {
    using A = accumulator<T>;
    const long long row = blockIdx.x * 4 + threadIdx.x / 32, H = gridDim.y;
    if (row >= n) return;
    const long long text_row = blockIdx.z * n + row, at = (blockIdx.z * H + blockIdx.y) * n + row;
    const long long n_rows = gridDim.z * H * n;
    A largest = -1e38, sum = 0;
    for (int part = 0; part < parts; ++part) {
        const A log_sum = part_log_sums[part * n_rows + at];
        if (log_sum != A(INFINITY)) largest = max(largest, log_sum);
    }
    for (int part = 0; part < parts; ++part) {
        const A log_sum = part_log_sums[part * n_rows + at];
        if (log_sum != A(INFINITY)) sum += exp2(log_sum - largest);
    }
    for (int d = lane(); d < D; d += 32) {
        const long long place = (text_row * H + blockIdx.y) * D + d;
        A value = 0;
        for (int part = 0; part < parts; ++part) {
            const A log_sum = part_log_sums[part * n_rows + at];
            if (log_sum != A(INFINITY)) value += exp2(log_sum - largest) * A(part_y[part * n_rows * D + place]);
        }
        y[place] = T(sum == 0 ? sum : value / sum);
    }
    if (lane() == 0) log_sums[at] = sum == 0 ? A(INFINITY) : largest + log2(sum);
}

template <typename T, int WIDTH, int OTHERS>
struct QueryTiles {  // of the gradient of the queries
    Row<T, WIDTH> q[ROWS], g[ROWS], k[OTHERS], v[OTHERS];
};

// grad_q, of the steps of q, and δ (B, H, n) of each query, for attend_grad_kv. Grid: (tiles of queries, H, B).
template <template <typename> class Product, typename T, int WIDTH, int OTHERS>
__global__ void __launch_bounds__(THREADS)
attend_grad_q(PARAMETERS, const T* y, const T* g, const accumulator<T>* log_sums, accumulator<T>* delta, T* grad_q) {
    using A = accumulator<T>;
    auto& tiles = *reinterpret_cast<QueryTiles<T, WIDTH, OTHERS>*>(dynamic_shared_memory);
    const Head<T> head = HEAD;
    const int first = (gridDim.x - 1 - blockIdx.x) * ROWS;
    const int stop = min(head.m, first + ROWS + head.ahead);
    const A scale = head.scale_of_two();
    A log_sum[2], row_delta[2];
    for (int half = 0; half < 2; ++half) {
        const int row = first + sheet_row(half);
        log_sum[half] = row < n ? log_sums[head.rows() + row] : A(INFINITY);
        const long long begin = head.merged() + row * head.merged_row();
        A sum = 0;  // four threads share a row
        for (int column = lane() % 4; row < n && column < head.D; column += 4)
            sum += A(y[begin + column]) * A(g[begin + column]);
        row_delta[half] = row_sum(sum);
        if (row < n && lane() % 4 == 0) delta[head.rows() + row] = row_delta[half];
    }
    Sheet<A, WIDTH> result;
    result.clear();
    copy_rows<Product<T>, ROWS>(tiles.q, head.q + first * q_row, q_row, head.n - first, head.D);
    copy_rows<Product<T>, ROWS>(tiles.g, g + head.merged() + first * head.merged_row(), head.merged_row(),
                                head.n - first, head.D);

    for (int key = 0; key < stop; key += OTHERS) {
        __syncthreads();  // the tiles before are read
        copy_rows<Product<T>, OTHERS>(tiles.k, head.k + key * k_row, k_row, head.m - key, head.D);
        copy_rows<Product<T>, OTHERS>(tiles.v, head.v + key * k_row, k_row, head.m - key, head.D);
        __syncthreads();
        Sheet<A, OTHERS> weights, d;
        weights.clear();
        Product<T>::by_rows(weights, tiles.q + warp_row(), tiles.k);
        head.hide(weights, QUERIES, first, key);
        weights.each([&](A& score, int half, int) { score = exp2(score * scale - log_sum[half]); });  // A
        d.clear();
        Product<T>::by_rows(d, tiles.g + warp_row(), tiles.v);
        head.drop(d, QUERIES, first, key);
        for (int i = 0; i < OTHERS / 8; ++i)  // S̄ = A ⊙ (Ā − δ)
            for (int e = 0; e < 4; ++e) d.values[i][e] = weights.values[i][e] * (d.values[i][e] - row_delta[e / 2]);
        Product<T>::by_columns(result, d, tiles.k);
    }
    const A factors[2] = {head.scale(), head.scale()};
    write_rows(result, grad_q + (head.q - q), q_row, first, head.n, head.D, factors);
}

template <typename T, int WIDTH, int OTHERS>
struct KeyTiles {  // of the gradients of keys and values
    Row<T, WIDTH> k[ROWS], v[ROWS], q[OTHERS], g[OTHERS];
    accumulator<T> log_sums[OTHERS], delta[OTHERS];
};

// grad_k and grad_v, of the steps of k and v. All sheets lie across: keys are rows, queries are columns.
// Grid: (tiles of keys, H, B).
template <template <typename> class Product, typename T, int WIDTH, int OTHERS>
__global__ void __launch_bounds__(THREADS)
attend_grad_kv(PARAMETERS, const T* g, const accumulator<T>* log_sums, const accumulator<T>* delta, T* grad_k,
               T* grad_v) {
    using A = accumulator<T>;
    auto& tiles = *reinterpret_cast<KeyTiles<T, WIDTH, OTHERS>*>(dynamic_shared_memory);
    const Head<T> head = HEAD;
    const int first = blockIdx.x * ROWS;
    const A scale = head.scale_of_two();
    Sheet<A, WIDTH> result_k, result_v;
    result_k.clear();
    result_v.clear();
    copy_rows<Product<T>, ROWS>(tiles.k, head.k + first * k_row, k_row, head.m - first, head.D);
    copy_rows<Product<T>, ROWS>(tiles.v, head.v + first * k_row, k_row, head.m - first, head.D);

    for (int query = max(0, first - head.ahead); query < n; query += OTHERS) {  // from the first that sees a key
        __syncthreads();  // the tiles before are read
        copy_rows<Product<T>, OTHERS>(tiles.q, head.q + query * q_row, q_row, head.n - query, head.D);
        copy_rows<Product<T>, OTHERS>(tiles.g, g + head.merged() + query * head.merged_row(), head.merged_row(),
                                      head.n - query, head.D);
        for (int i = threadIdx.x; i < OTHERS; i += THREADS) {
            const bool there = query + i < n;
            tiles.log_sums[i] = there ? log_sums[head.rows() + query + i] : A(INFINITY);  // no weight: 2^−∞
            tiles.delta[i] = there ? delta[head.rows() + query + i] : A(0);
        }
        __syncthreads();
        Sheet<A, OTHERS> weights, d;
        weights.clear();
        Product<T>::by_rows(weights, tiles.k + warp_row(), tiles.q);
        head.hide(weights, KEYS, query, first);
        weights.each([&](A& score, int, int column) { score = exp2(score * scale - tiles.log_sums[column]); });  // Aᵀ
        d.clear();
        Product<T>::by_rows(d, tiles.v + warp_row(), tiles.g);
        head.drop(d, KEYS, query, first);
        for (int i = 0; i < OTHERS / 8; ++i)  // S̄ᵀ = Aᵀ ⊙ (Āᵀ − δ)
            for (int e = 0; e < 4; ++e) {
                const int column = 8 * i + 2 * (lane() % 4) + e % 2;
                d.values[i][e] = weights.values[i][e] * (d.values[i][e] - tiles.delta[column]);
            }
        head.drop(weights, KEYS, query, first);
        Product<T>::by_columns(result_v, weights, tiles.g);
        Product<T>::by_columns(result_k, d, tiles.q);
    }
    const A factors_k[2] = {head.scale(), head.scale()}, factors_v[2] = {1, 1};
    write_rows(result_k, grad_k + (head.k - k), k_row, first, head.m, head.D, factors_k);
    write_rows(result_v, grad_v + (head.v - v), k_row, first, head.m, head.D, factors_v);
}

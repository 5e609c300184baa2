// What the CUDA kernels share. It is put before each of them when it is compiled.
//
// A kernel is a template over the scalar type T of its arrays: float, double, __half or __nv_bfloat16.
// Whole numbers come as long long, other settings as double.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifndef INFINITY  // it stands in math.h, which the compiler at run time has not
#define INFINITY __int_as_float(0x7F800000)
#endif

enum : unsigned { ALL_LANES = 0xFFFFFFFF };

// The type to calculate in: double for double, else float. Sums of many halves would lose nearly all their digits.
template <typename T> struct Accumulator { using type = float; };
template <> struct Accumulator<double> { using type = double; };
template <typename T> using accumulator = typename Accumulator<T>::type;

// The place of this thread among those of all blocks.
__device__ inline long long element() { return blockIdx.x * (long long)blockDim.x + threadIdx.x; }

struct Sum {
    template <typename A> __device__ A operator()(A a, A b) const { return a + b; }
};
struct Largest {
    template <typename A> __device__ A operator()(A a, A b) const { return a > b ? a : b; }
};

// The values of the 32 lanes of a warp combined, in every lane.
template <typename Combine, typename A>
__device__ A warp_reduce(A value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value = Combine()(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
}

template <typename A> __device__ A warp_sum(A value) { return warp_reduce<Sum>(value); }

// The values of the threads of a block combined, in every thread; `neutral` changes nothing when it is combined.
template <typename Combine, typename A>
__device__ A block_reduce(A value, A neutral) {
    __shared__ A of_warps[32];
    value = warp_reduce<Combine>(value);
    __syncthreads();  // of_warps may still be read for the reduction before
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = value;
    __syncthreads();
    unsigned lane = threadIdx.x % 32;
    return warp_reduce<Combine>(lane < blockDim.x / 32 ? of_warps[lane] : neutral);
}

template <typename A> __device__ A block_sum(A value) { return block_reduce<Sum>(value, A(0)); }
template <typename A> __device__ A block_max(A value) { return block_reduce<Largest>(value, A(-INFINITY)); }

// -- sums over the rows of a matrix, in two stages, so that they are added in the same order at each run

// A block of 32 columns × 8 rows of threads: the sum over its rows of threads, in each of them.
template <typename A>
__device__ A sum_over_y(A value) {
    __shared__ A values[8][32];
    __syncthreads();  // they may still be read for the sum before
    values[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    A sum = 0;
    for (int y = 0; y < 8; ++y) sum += values[y][threadIdx.x];
    return sum;
}

// The second stage, of the sums (chunks, C) that the blocks of the first stage left: y[c] = Σ_k sums[k, c]. Where those
// are two side by side, (chunks, 2, C), the second is for z.
template <typename T>
__global__ void sum_chunks(const accumulator<T>* sums, T* y, T* z, long long chunks, long long columns) {
    long long c = element(), width = z ? 2 * columns : columns;
    if (c >= width) return;
    accumulator<T> sum = 0;
    for (long long k = 0; k < chunks; ++k) sum += sums[k * width + c];
    (c < columns ? y[c] : z[c - columns]) = T(sum);
}

// -- 16 bytes at once

// Neighbours that are read and written at once.
template <typename T>
struct alignas(16) Pack {
    static constexpr int size = 16 / sizeof(T);
    T at[size];
};

template <typename T>
__device__ Pack<T>& pack(T& first) { return reinterpret_cast<Pack<T>&>(first); }

template <typename T>
__device__ const Pack<T>& pack(const T& first) { return reinterpret_cast<const Pack<T>&>(first); }

// The first element of this thread, where each has 16 bytes to do.
template <typename T>
__device__ long long first_element() { return element() * Pack<T>::size; }

// The first `count` of the neighbours from a place on, or all, at once where they are there and aligned.
template <typename T>
__device__ Pack<T> load(const T* from, long long count) {
    if (count >= Pack<T>::size && reinterpret_cast<size_t>(from) % 16 == 0) return pack(*from);
    Pack<T> few = {};
    for (int i = 0; i < Pack<T>::size && i < count; ++i) few.at[i] = from[i];
    return few;
}

template <typename T>
__device__ void store(T* to, const Pack<T>& numbers, long long count) {
    if (count >= Pack<T>::size && reinterpret_cast<size_t>(to) % 16 == 0) {
        pack(*to) = numbers;
        return;
    }
    for (int i = 0; i < Pack<T>::size && i < count; ++i) to[i] = numbers.at[i];
}

// -- GELU in the tanh form

// h = ½ (1 + tanh u),  u = c (x + 0.044715 x³),  c = √(2/π); then y = x h.
template <typename A>
__device__ A half_tanh(A x) {
    const A c = 0.79788456080286535588, cubic = 0.044715;
    return A(0.5) * (1 + tanh(c * (x + cubic * x * x * x)));
}

// gelu′ = h (1 + 2 x (1 − h) u′),  u′ = c (1 + 3 · 0.044715 x²)
template <typename A>
__device__ A gelu_slope(A x) {
    const A c = 0.79788456080286535588, cubic = 0.044715;
    A h = half_tanh(x);
    return h * (1 + 2 * x * (1 - h) * c * (1 + 3 * cubic * x * x));
}

// -- random bits

// The hash of a place and a seed of two parts, as in ops/dropout.py: keep_mask; a place is kept if it is ≥ p · 2³².
__device__ inline unsigned random_bits(unsigned place, unsigned seed, unsigned seed_high) {
    unsigned bits = place ^ seed;
    bits = (bits ^ bits >> 16) * 0x21F0AAAD;
    bits ^= seed_high;
    bits = (bits ^ bits >> 15) * 0xD35A2D97;
    return bits ^ bits >> 15;
}

// -- Products on the tensor cores, of a warp. With r = lane / 4 and c = lane % 4 a thread holds four of 16 × 8 sums:
// row r, columns 2c and 2c + 1, and row r + 8, the same columns. Of the factors it holds
//   halves    left (16 × 16): rows r and r + 8, columns 2c and 2c + 1; the same rows, columns 2c + 8 and 2c + 9
//             right (16 × 8): rows 2c and 2c + 1, column r; rows 2c + 8 and 2c + 9, column r
//   float     left (16 × 8): rows r and r + 8, column c; the same rows, column c + 4
//             right (8 × 8): row c, column r; row c + 4, column r
// (PTX manual, mma.m16n8k16 and mma.m16n8k8). The text of tests/helpers/cuda_on_cpu.h stands for them on a CPU.
#ifndef CUDA_ON_CPU

template <typename T>  // from sm_80 on
__device__ void mma(float (&sums)[4], const unsigned (&left)[4], const unsigned (&right)[2]);

#define MMA(TYPE, SHAPE, NAME)                                                                                    \
    template <>                                                                                                   \
    __device__ inline void mma<TYPE>(float (&sums)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {   \
        asm volatile("mma.sync.aligned." SHAPE ".row.col.f32." NAME "." NAME ".f32 "                              \
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                     \
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                          \
            : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));              \
    }
MMA(__half, "m16n8k16", "f16")
MMA(__nv_bfloat16, "m16n8k16", "bf16")
MMA(float, "m16n8k8", "tf32")

// Of __half, from sm_75 on: the left half of the left factor above, of two registers, the upper half of the right one.
__device__ inline void mma_of_8(float (&sums)[4], unsigned upper, unsigned lower, unsigned right) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) : "r"(upper), "r"(lower), "r"(right));
}

// The right factor out of 16 rows of halves in shared memory; lane i points to row i % 16, aligned to 16 bytes.
__device__ inline void transposed_factor(unsigned (&right)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(right[0]), "=r"(right[1]) : "r"(unsigned(__cvta_generic_to_shared(row))) : "memory");
}

__device__ inline float rounded_to_tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
}

#endif

template <typename T>
__device__ void tensor_product(float (&sums)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
    mma<T>(sums, left, right);
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800  // Turing adds 8 terms at a time
template <>
__device__ inline void tensor_product<__half>(float (&sums)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
    mma_of_8(sums, left[0], left[1], right[0]);
    mma_of_8(sums, left[2], left[3], right[1]);
}
#endif

// -- Tiles in shared memory, and their products, made by a warp

__device__ inline int lane() { return threadIdx.x % 32; }
__device__ inline int warp_row() { return threadIdx.x / 32 * 16; }  // the first of the 16 rows of this warp

// A row of a tile in shared memory. The 16 bytes more put rows below each other into different banks.
template <typename T, int WIDTH>
struct alignas(16) Row {
    T at[WIDTH + 16 / sizeof(T)];
};

// 16 rows of sums, spread over the threads of a warp as the tensor cores have them: with r = lane / 4 and c = lane % 4,
// values[i] are those of row r, columns 8i + 2c and 8i + 2c + 1, and of row r + 8, the same columns.
template <typename A, int COLUMNS>
struct Sheet {
    A values[COLUMNS / 8][4];

    // f(value, 0 for row r or 1 for row r + 8, column)
    template <typename F>
    __device__ void each(F f) {
#pragma unroll
        for (int i = 0; i < COLUMNS / 8; ++i)
#pragma unroll
            for (int e = 0; e < 4; ++e) f(values[i][e], e / 2, 8 * i + 2 * (lane() % 4) + e % 2);
    }

    __device__ void clear() {
        each([](A& value, int, int) { value = 0; });
    }
};

__device__ inline int sheet_row(int half) { return warp_row() + lane() / 4 + 8 * half; }

// The four threads that share a row.
template <typename A>
__device__ A row_sum(A x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

template <typename A>
__device__ A row_max(A x) {
    x = max(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return max(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

// Two products:
//
//   by_rows      sums += left rightᵀ   left: 16 rows, right: COLUMNS rows, both in shared memory
//   by_columns   sums += left right    left: a sheet, right: as many rows as left has columns, in shared memory
//
// Plain is made of multiplications and additions; TensorCores round to the type that they multiply.

template <typename T>
struct Plain {
    using A = accumulator<T>;

    static __device__ T rounded(T x) { return x; }

    template <int WIDTH, int COLUMNS>
    static __device__ void by_rows(Sheet<A, COLUMNS>& sums, const Row<T, WIDTH>* left, const Row<T, WIDTH>* right) {
        const int r = lane() / 4, c = lane() % 4;
#pragma unroll 1
        for (int k = 0; k < WIDTH; k += Pack<T>::size) {
            const Pack<T> a[2] = {pack(left[r].at[k]), pack(left[r + 8].at[k])};
#pragma unroll
            for (int i = 0; i < COLUMNS / 8; ++i)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const Pack<T> b = pack(right[8 * i + 2 * c + e].at[k]);
#pragma unroll
                    for (int x = 0; x < Pack<T>::size; ++x) {
                        sums.values[i][e] += A(a[0].at[x]) * A(b.at[x]);
                        sums.values[i][2 + e] += A(a[1].at[x]) * A(b.at[x]);
                    }
                }
        }
    }

    template <int WIDTH, int COLUMNS>
    static __device__ void by_columns(Sheet<A, WIDTH>& sums, const Sheet<A, COLUMNS>& left,
                                      const Row<T, WIDTH>* right) {
        const int r = lane() / 4, c = lane() % 4;
#pragma unroll
        for (int k = 0; k < COLUMNS; ++k) {
            const int owner = 4 * r + k % 8 / 2;  // of column k of the two rows
            const A a[2] = {__shfl_sync(ALL_LANES, left.values[k / 8][k % 2], owner),
                            __shfl_sync(ALL_LANES, left.values[k / 8][2 + k % 2], owner)};
#pragma unroll
            for (int i = 0; i < WIDTH / 8; ++i)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const A b = right[k].at[8 * i + 2 * c + e];
                    sums.values[i][e] += a[0] * b;
                    sums.values[i][2 + e] += a[1] * b;
                }
        }
    }
};

// Two neighbours of a row of halves, as the tensor cores take them.
template <typename T>
__device__ unsigned pair(const T& first) { return reinterpret_cast<const unsigned&>(first); }

template <typename T>
__device__ unsigned pair(float first, float second) {
    const struct alignas(4) { T at[2]; } both = {{T(first), T(second)}};
    return pair(both.at[0]);
}

template <typename T>  // __half or __nv_bfloat16; 16 terms of a sum at a time
struct TensorCores {
    using A = float;

    static __device__ T rounded(T x) { return x; }

    template <int WIDTH, int COLUMNS>
    static __device__ void by_rows(Sheet<A, COLUMNS>& sums, const Row<T, WIDTH>* left, const Row<T, WIDTH>* right) {
        const int r = lane() / 4, c = 2 * (lane() % 4);
#pragma unroll
        for (int k = 0; k < WIDTH; k += 16) {
            const unsigned a[4] = {pair(left[r].at[k + c]), pair(left[r + 8].at[k + c]),
                                   pair(left[r].at[k + 8 + c]), pair(left[r + 8].at[k + 8 + c])};
#pragma unroll
            for (int i = 0; i < COLUMNS / 8; ++i) {
                const unsigned b[2] = {pair(right[8 * i + r].at[k + c]), pair(right[8 * i + r].at[k + 8 + c])};
                tensor_product<T>(sums.values[i], a, b);
            }
        }
    }

    // A sheet of sums has the layout of a left factor: it stays in its registers.
    template <int WIDTH, int COLUMNS>
    static __device__ void by_columns(Sheet<A, WIDTH>& sums, const Sheet<A, COLUMNS>& left,
                                      const Row<T, WIDTH>* right) {
#pragma unroll
        for (int k = 0; k < COLUMNS; k += 16) {
            const float(&s)[4] = left.values[k / 8];
            const float(&t)[4] = left.values[k / 8 + 1];
            const unsigned a[4] = {pair<T>(s[0], s[1]), pair<T>(s[2], s[3]), pair<T>(t[0], t[1]), pair<T>(t[2], t[3])};
#pragma unroll
            for (int i = 0; i < WIDTH / 8; ++i) {
                unsigned b[2];
                transposed_factor(b, &right[k + lane() % 16].at[8 * i]);
                tensor_product<T>(sums.values[i], a, b);
            }
        }
    }
};

template <>
struct TensorCores<float> {  // rounded to TF32; 8 terms of a sum at a time
    using A = float;

    static __device__ float rounded(float x) { return rounded_to_tf32(x); }

    template <int WIDTH, int COLUMNS>
    static __device__ void by_rows(Sheet<A, COLUMNS>& sums, const Row<float, WIDTH>* left,
                                   const Row<float, WIDTH>* right) {
        const int r = lane() / 4, c = lane() % 4;
#pragma unroll
        for (int k = 0; k < WIDTH; k += 8) {
            const unsigned a[4] = {__float_as_uint(left[r].at[k + c]), __float_as_uint(left[r + 8].at[k + c]),
                                   __float_as_uint(left[r].at[k + 4 + c]), __float_as_uint(left[r + 8].at[k + 4 + c])};
#pragma unroll
            for (int i = 0; i < COLUMNS / 8; ++i) {
                const unsigned b[2] = {__float_as_uint(right[8 * i + r].at[k + c]),
                                       __float_as_uint(right[8 * i + r].at[k + 4 + c])};
                tensor_product<float>(sums.values[i], a, b);
            }
        }
    }

    // A left factor has columns c and c + 4 where a sheet of sums has 2c and 2c + 1. The order of the terms of a sum is
    // free: with the rows of the right factor taken in the order of the sheet, the sheet stays in its registers.
    template <int WIDTH, int COLUMNS>
    static __device__ void by_columns(Sheet<A, WIDTH>& sums, const Sheet<A, COLUMNS>& left,
                                      const Row<float, WIDTH>* right) {
        const int r = lane() / 4, c = 2 * (lane() % 4);
#pragma unroll
        for (int k = 0; k < COLUMNS; k += 8) {
            const float(&s)[4] = left.values[k / 8];
            const unsigned a[4] = {__float_as_uint(rounded(s[0])), __float_as_uint(rounded(s[2])),
                                   __float_as_uint(rounded(s[1])), __float_as_uint(rounded(s[3]))};
#pragma unroll
            for (int i = 0; i < WIDTH / 8; ++i) {
                const unsigned b[2] = {__float_as_uint(right[k + c].at[8 * i + r]),
                                       __float_as_uint(right[k + c + 1].at[8 * i + r])};
                tensor_product<float>(sums.values[i], a, b);
            }
        }
    }
};

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

// The place of this thread among those of all blocks, where each has one element to do.
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

// The second stage: y[c] = Σ_k partial[k, c], of the sums (chunks, columns) that the blocks of the first stage left.
template <typename T>
__global__ void sum_chunks(const accumulator<T>* partial, T* y, long long chunks, long long columns) {
    long long c = element();
    if (c >= columns) return;
    accumulator<T> sum = 0;
    for (long long k = 0; k < chunks; ++k) sum += partial[k * columns + c];
    y[c] = static_cast<T>(sum);
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

// -- Products on the tensor cores, of a warp. With r = lane / 4 and c = lane % 4 a thread holds four of 16 × 8 sums: row r,
// columns 2c and 2c + 1, and row r + 8, the same columns. Of the factors it holds
//   halves    left (16 × 16): rows r and r + 8, columns 2c and 2c + 1; the same rows, columns 2c + 8 and 2c + 9
//             right (16 × 8): rows 2c and 2c + 1, column r; rows 2c + 8 and 2c + 9, column r
//   float     left (16 × 8): rows r and r + 8, column c; the same rows, column c + 4
//             right (8 × 8): row c, column r; row c + 4, column r
// (PTX manual, mma.m16n8k16 and mma.m16n8k8). The text of tests/cuda_on_cpu.h stands for them on a CPU.
#ifndef CUDA_ON_CPU

template <typename T>
__device__ void tensor_product(float (&sums)[4], const unsigned (&left)[4], const unsigned (&right)[2]);

#define TENSOR_PRODUCT(TYPE, SHAPE, NAME)                                                                         \
    template <>                                                                                                   \
    __device__ inline void tensor_product<TYPE>(float (&sums)[4], const unsigned (&left)[4],                      \
                                                const unsigned (&right)[2]) {                                     \
        asm("mma.sync.aligned." SHAPE ".row.col.f32." NAME "." NAME ".f32 "                                       \
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                     \
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                          \
            : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));              \
    }
TENSOR_PRODUCT(__half, "m16n8k16", "f16")
TENSOR_PRODUCT(__nv_bfloat16, "m16n8k16", "bf16")
TENSOR_PRODUCT(float, "m16n8k8", "tf32")

// The right factor out of 16 rows of halves in shared memory, of which lane i points to row i % 16, aligned to 16 bytes.
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

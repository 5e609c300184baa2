// The products of the tensor cores for cuda_on_cpu.h, with their factors spread over a warp as the PTX manual has them.
#pragma once

namespace cuda_on_cpu {

// The factors of one lane: registers of 4 bytes, each with two halves or one float.
struct Factors {
    unsigned left[4], right[2];
};

template <class T> float number(unsigned bits, int i) {
    T pair[4 / sizeof(T)];
    memcpy(pair, &bits, sizeof bits);
    return pair[i];
}

// An instruction that the PTX manual has from a compute capability on.
inline void requires_capability(int capability, const char* instruction) {
    if (launched->capability < capability)
        fail(std::string(instruction) + " requires sm_" + std::to_string(capability) + " or higher");
}

}  // namespace cuda_on_cpu

// mma.m16n8k16 for halves, mma.m16n8k8 for float (which must have been rounded to TF32).
template <class T>
void mma(float (&sums)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
    using namespace cuda_on_cpu;
    requires_capability(80, sizeof(T) == 2 ? "mma.m16n8k16" : "mma.m16n8k8.tf32");
    constexpr int IN_ONE = 4 / sizeof(T), TERMS = 8 * IN_ONE;
    Factors own = {{left[0], left[1], left[2], left[3]}, {right[0], right[1]}};
    auto lanes = all_lanes(own);
    for (int i = 0; i < 4; ++i) {
        int row = lane() / 4 + 8 * (i / 2), column = 2 * (lane() % 4) + i % 2;
        for (int k = 0; k < TERMS; ++k) {
            int place = k / IN_ONE % 4, upper = k / (TERMS / 2);  // of the lanes of a row; first or second half of k
            unsigned a = lanes[row % 8 * 4 + place].left[row / 8 + 2 * upper];
            unsigned b = lanes[column * 4 + place].right[upper];
            if (sizeof(T) == 4 && ((a | b) & 0x1FFF)) fail("a factor has more digits than TF32");
            sums[i] += number<T>(a, k % IN_ONE) * number<T>(b, k % IN_ONE);
        }
    }
}

// mma.m16n8k8 for __half.
inline void mma_of_8(float (&sums)[4], unsigned upper, unsigned lower, unsigned right) {
    using namespace cuda_on_cpu;
    requires_capability(75, "mma.m16n8k8.f16");
    auto lanes = all_lanes(std::array<unsigned, 3>{upper, lower, right});
    for (int i = 0; i < 4; ++i) {
        int row = lane() / 4 + 8 * (i / 2), column = 2 * (lane() % 4) + i % 2;
        for (int k = 0; k < 8; ++k)
            sums[i] += number<__half>(lanes[row % 8 * 4 + k / 2][row / 8], k % 2) *
                       number<__half>(lanes[column * 4 + k / 2][2], k % 2);
    }
}

// ldmatrix.x2.trans: lane i points to row i of two 8 × 8 matrices of halves, one below the other.
inline void transposed_factor(unsigned (&right)[2], const void* row) {
    using namespace cuda_on_cpu;
    requires_capability(75, "ldmatrix");
    if (reinterpret_cast<uintptr_t>(row) % 16) fail("a row of a matrix is not aligned to 16 bytes");
    auto rows = all_lanes(static_cast<const uint16_t*>(row));
    for (int i = 0; i < 2; ++i) {
        const uint16_t *upper = rows[8 * i + lane() % 4 * 2], *lower = rows[8 * i + lane() % 4 * 2 + 1];
        right[i] = upper[lane() / 4] | unsigned(lower[lane() / 4]) << 16;
    }
}

inline float rounded_to_tf32(float x) {  // cvt.rna.tf32: to nearest, halves away from 0
    cuda_on_cpu::requires_capability(80, "cvt.rna.tf32");
    return x == x ? __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1FFFu) : __uint_as_float(0x7FFFE000);
}

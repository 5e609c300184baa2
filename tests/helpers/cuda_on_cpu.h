// CUDA C++ for g++: the text of a kernel runs on the CPU, so that a machine without a GPU can test it.
//
// A block is run by one thread of the processor. Each CUDA thread is a fiber with a stack of its own; it runs until it
// waits, at a barrier or for its warp, and then the next one does. In which order they run differs from launch to
// launch (see `order`), so what a kernel gets wrong without a barrier comes out wrong here, too. `__shared__` variables
// are thread_local ones: they lie side by side in one segment of memory, which is filled with NaN before each block.
#pragma once
#include <link.h>
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__ const
#define __shared__ thread_local
#define __forceinline__ inline
#define __restrict__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define CUDA_ON_CPU

struct uint3 { unsigned x, y, z; };
using dim3 = uint3;
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_on_cpu {

constexpr unsigned MAX_SHARED = 232448, GUARD = 4096, STACK = 1 << 17, SLOT = 64;
constexpr unsigned char POISON = 0xFF;  // a NaN in every floating type, -1 in every integer

// What the Python side fills in; see tests/helpers/cuda_on_cpu.py.
struct Launch {
    unsigned grid[3], block[3];
    long long shared, order, capability, count;
    const char* const* types;
    const uint64_t* values;
};

enum State { READY, AT_BARRIER, AT_WARP, DONE };

struct Fiber {
    uint3 index;
    State state = DONE;
    int line = 0;        // of the barrier that it waits at
    unsigned mask = 0;   // of the lanes that it waits for
    unsigned exchanges = 0;
    bool started = false;
    alignas(16) unsigned char slot[2][SLOT];  // what it shows to its warp, in turns
    jmp_buf here;
    ucontext_t context;
    std::unique_ptr<char[]> stack;
};

static std::vector<Fiber> fibers(1024);
static Fiber* current;
static unsigned n_threads;
static jmp_buf scheduler;
static void (*body)(const Launch&);
static const Launch* launched;
static std::string failure;

[[gnu::noinline]] static void wait(State state) {
    current->state = state;
    if (_setjmp(current->here) == 0) _longjmp(scheduler, 1);
}

[[noreturn]] static void fail(const std::string& why) {
    if (failure.empty())
        failure = why + " (block " + std::to_string(blockIdx.x) + "," + std::to_string(blockIdx.y) + "," +
                  std::to_string(blockIdx.z) + " thread " + std::to_string(current - fibers.data()) + ")";
    current->started = false;
    _longjmp(scheduler, 1);
}

static void fiber_main() {
    for (;;) {
        body(*launched);
        wait(DONE);
    }
}

[[gnu::noinline]] static void resume(Fiber& fiber) {
    current = &fiber;
    threadIdx = fiber.index;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.here, 1);
    fiber.started = true;
    if (!fiber.stack) fiber.stack.reset(new char[STACK]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
    setcontext(&fiber.context);
}

// Wake the warps of which every awaited lane has come, and the block if all of it stands at one barrier.
static bool release() {
    bool any = false;
    for (unsigned first = 0; first < n_threads; first += 32) {
        unsigned lanes = std::min(32u, n_threads - first), waiting = 0, wanted = 0;
        for (unsigned lane = 0; lane < lanes; ++lane)
            if (fibers[first + lane].state == AT_WARP) {
                waiting |= 1u << lane;
                wanted |= fibers[first + lane].mask;
            }
        if (waiting && waiting == wanted) {
            for (unsigned lane = 0; lane < lanes; ++lane)
                if (fibers[first + lane].state == AT_WARP) fibers[first + lane].state = READY;
            any = true;
        }
    }
    bool together = std::all_of(fibers.begin(), fibers.begin() + n_threads, [](const Fiber& fiber) {
        return fiber.state == AT_BARRIER && fiber.line == fibers[0].line;
    });
    if (together)
        for (unsigned i = 0; i < n_threads; ++i) fibers[i].state = READY;
    return any || together;
}

// In which order things run: 0 forward, 1 backward, more: shuffled, another way each time.
static const std::vector<unsigned>& turn(std::vector<unsigned>& places, unsigned n, long long order) {
    static uint64_t random = 1;
    places.resize(n);
    std::iota(places.begin(), places.end(), 0);
    if (order == 1) std::reverse(places.begin(), places.end());
    for (unsigned i = n; order > 1 && i > 1; --i) {
        random = random * 6364136223846793005 + 2 * order + 1;
        std::swap(places[i - 1], places[(random >> 33) % i]);
    }
    return places;
}

static void run_block(const Launch& launch) {
    static std::vector<unsigned> places;
    for (unsigned i = 0; i < n_threads; ++i) {
        fibers[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        fibers[i].state = READY;
        fibers[i].exchanges = 0;
    }
    for (;;) {
        for (unsigned i : turn(places, n_threads, launch.order)) {
            if (fibers[i].state == READY) resume(fibers[i]);
            if (!failure.empty()) return;
        }
        if (std::all_of(fibers.begin(), fibers.begin() + n_threads, [](const Fiber& f) { return f.state == DONE; }))
            return;
        if (!release()) {
            failure = "threads wait for others that ended or wait elsewhere:";
            for (unsigned i = 0; i < n_threads; ++i) {
                const Fiber& fiber = fibers[i];
                failure += " " + std::to_string(i) + (fiber.state == DONE ? " ended" : fiber.state == AT_WARP ? " warp"
                                                      : " line " + std::to_string(fiber.line));
            }
            return;
        }
    }
}

}  // namespace cuda_on_cpu

// Where dynamic shared memory begins: `extern __shared__ unsigned char dynamic_shared_memory[];` in a kernel. What lies
// behind the bytes that a launch asks for is watched.
alignas(1024) thread_local unsigned char dynamic_shared_memory[cuda_on_cpu::MAX_SHARED + cuda_on_cpu::GUARD];

namespace cuda_on_cpu {

// The segment of all __shared__ variables: of this library's thread_local ones.
static std::pair<unsigned char*, size_t> shared_segment() {
    std::pair<unsigned char*, size_t> found{dynamic_shared_memory, sizeof dynamic_shared_memory};
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void* result) {
        auto& found = *static_cast<std::pair<unsigned char*, size_t>*>(result);
        auto* start = static_cast<unsigned char*>(info->dlpi_tls_data);
        for (int i = 0; start && i < info->dlpi_phnum; ++i) {
            size_t size = info->dlpi_phdr[i].p_memsz;
            if (info->dlpi_phdr[i].p_type == PT_TLS && start <= found.first && found.first < start + size) {
                found = {start, size};
                return 1;
            }
        }
        return 0;
    }, &found);
    return found;
}

template <class T> struct Name;  // of the types that may stand behind a pointer, as NumPy has them
template <> struct Name<float> { static constexpr const char* text = "float32"; };
template <> struct Name<double> { static constexpr const char* text = "float64"; };
template <> struct Name<bool> { static constexpr const char* text = "bool"; };
template <> struct Name<unsigned char> { static constexpr const char* text = "uint8"; };
template <> struct Name<int> { static constexpr const char* text = "int32"; };
template <> struct Name<unsigned> { static constexpr const char* text = "uint32"; };
template <> struct Name<long long> { static constexpr const char* text = "int64"; };
template <> struct Name<unsigned long long> { static constexpr const char* text = "uint64"; };

// What a parameter of a kernel accepts: "float32*" (to be written to), "const float32*", "long long", "double".
struct Type {
    bool constant;
    const char *name, *stars;
    std::string text() const { return (constant ? std::string("const ") : "") + name + stars; }
    bool takes(const std::string& given) const {
        return given == text() || (constant && given == std::string(name) + stars) || (*stars && given == "None");
    }
};
template <class P> struct Parameter {
    static_assert(std::is_same_v<P, long long> || std::is_same_v<P, double>,
                  "a kernel takes pointers, long long (Python's int) and double (float)");
    static constexpr Type type{false, std::is_same_v<P, double> ? "double" : "long long", ""};
    static P value(uint64_t bits) {
        P value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
};
template <class T> struct Parameter<T*> {
    static constexpr Type type{std::is_const_v<T>, Name<std::remove_const_t<T>>::text, "*"};
    static T* value(uint64_t bits) { return reinterpret_cast<T*>(bits); }
};
template <class T> struct Parameter<T* const*> {  // a table of pointers, Python's list of arrays
    static constexpr Type type{std::is_const_v<T>, Name<std::remove_const_t<T>>::text, "**"};
    static T* const* value(uint64_t bits) { return reinterpret_cast<T* const*>(bits); }
};

static void check(const Launch& launch, const Type* types, long long count) {
    if (count != launch.count)
        failure = std::to_string(launch.count) + " arguments for " + std::to_string(count) + " parameters";
    for (long long i = 0; failure.empty() && i < count; ++i)
        if (!types[i].takes(launch.types[i]))
            failure = "argument " + std::to_string(i) + " is " + launch.types[i] + ", expected " + types[i].text();
}

static void run_grid(const Launch& launch) {
    gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
    blockDim = {launch.block[0], launch.block[1], launch.block[2]};
    n_threads = blockDim.x * blockDim.y * blockDim.z;
    launched = &launch;
    auto [start, size] = shared_segment();
    std::vector<unsigned> places;
    for (unsigned i : turn(places, gridDim.x * gridDim.y * gridDim.z, launch.order)) {
        blockIdx = {i % gridDim.x, i / gridDim.x % gridDim.y, i / gridDim.x / gridDim.y};
        memset(start, POISON, size);
        run_block(launch);
        unsigned char* behind = dynamic_shared_memory + launch.shared;
        if (failure.empty() && std::any_of(behind, behind + GUARD, [](unsigned char c) { return c != POISON; }))
            failure = "written behind the " + std::to_string(launch.shared) + " bytes of dynamic shared memory";
        if (failure.empty()) continue;
        for (Fiber& fiber : fibers) fiber.started = false;  // what they were doing is given up
        break;
    }
}

template <class... P, size_t... I>
void call(void (*kernel)(P...), const Launch& launch, std::index_sequence<I...>) {
    kernel(Parameter<P>::value(launch.values[I])...);
}

// Run a kernel over its grid; the text of what went wrong, empty if nothing did.
template <class... P>
const char* run(void (*kernel)(P...), const Launch& launch) {
    static const Type types[] = {Parameter<P>::type...};
    static void (*running)(P...);
    running = kernel;
    body = [](const Launch& launch) { call(running, launch, std::index_sequence_for<P...>()); };
    failure.clear();
    check(launch, types, sizeof...(P));
    if (failure.empty()) run_grid(launch);
    return failure.c_str();
}

// -- what a warp does together

// The values of all lanes; every lane of `mask` must come. From here any product of a whole warp can be written down.
template <class V>
std::array<V, 32> all_lanes(V value, unsigned mask = 0xFFFFFFFF) {
    static_assert(sizeof(V) <= SLOT);
    unsigned own = current - fibers.data(), first = own / 32 * 32, turn = current->exchanges++ % 2;
    if (!(mask >> (own % 32) & 1)) fail("a lane outside the mask takes part");
    if (n_threads % 32) fail("warps are not whole: " + std::to_string(n_threads) + " threads in a block");
    memcpy(current->slot[turn], &value, sizeof value);
    current->mask = mask;
    wait(AT_WARP);
    std::array<V, 32> values;
    for (unsigned lane = 0; lane < 32; ++lane) memcpy(&values[lane], fibers[first + lane].slot[turn], sizeof value);
    return values;
}

inline unsigned lane() { return (current - fibers.data()) % 32; }

inline void barrier(int line) {
    current->line = line;
    wait(AT_BARRIER);
}

}  // namespace cuda_on_cpu

#define __syncthreads() cuda_on_cpu::barrier(__LINE__)
inline void __syncwarp(unsigned mask = 0xFFFFFFFF) { cuda_on_cpu::all_lanes(0, mask); }

template <class V> V __shfl_sync(unsigned mask, V value, int source, int width = 32) {
    auto values = cuda_on_cpu::all_lanes(value, mask);
    return values[cuda_on_cpu::lane() / width * width + source % width];
}
template <class V> V __shfl_xor_sync(unsigned mask, V value, int bits, int width = 32) {
    auto values = cuda_on_cpu::all_lanes(value, mask);
    unsigned own = cuda_on_cpu::lane(), other = own ^ bits;
    return values[other / width == own / width ? other : own];
}
template <class V> V __shfl_down_sync(unsigned mask, V value, unsigned delta, int width = 32) {
    auto values = cuda_on_cpu::all_lanes(value, mask);
    unsigned own = cuda_on_cpu::lane(), other = own + delta;
    return values[other / width == own / width ? other : own];
}
template <class V> V __shfl_up_sync(unsigned mask, V value, unsigned delta, int width = 32) {
    auto values = cuda_on_cpu::all_lanes(value, mask);
    unsigned own = cuda_on_cpu::lane();
    return values[own % width >= delta ? own - delta : own];
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    auto values = cuda_on_cpu::all_lanes(predicate, mask);
    unsigned bits = 0;
    for (int i = 0; i < 32; ++i) bits |= unsigned(values[i] != 0 && mask >> i & 1) << i;
    return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

template <class T, class V> T atomicAdd(T* place, V value) {
    T before = *place;
    *place = static_cast<T>(before + value);
    return before;
}

// -- numbers of two bytes: arithmetic in float, rounded to nearest, ties to even

namespace cuda_on_cpu {

inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

struct Half {  // 1 sign, 5 exponent, 10 mantissa
    static uint16_t round(float x) {
        uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7FFFFFFF;
        if (rest > 0x7F800000) return sign | 0x7FFF;                // NaN
        if (rest >= 0x477FF000) return sign | 0x7C00;               // 65520 and more: infinity
        if (rest < 0x38800000)                                      // below 2^-14: units of 2^-24, as of 0.5 in float
            return sign | (bits_of(float_of(rest) + 0.5f) - bits_of(0.5f));
        return sign | ((rest + 0xFFF + (rest >> 13 & 1) - 0x38000000) >> 13);
    }
    static float value(uint16_t bits) {
        uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7FFF;
        if (rest < 0x400) return float_of(bits_of(rest * 0x1p-24f) | sign);
        return float_of(sign | (rest >= 0x7C00 ? 0x7F800000 | rest << 13 : (rest << 13) + 0x38000000));
    }
};

struct Brain {  // the upper half of a float
    static uint16_t round(float x) {
        uint32_t bits = bits_of(x);
        return (bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FFF : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    }
    static float value(uint16_t bits) { return float_of(uint32_t(bits) << 16); }
};

template <class Format> struct Small {
    uint16_t bits;
    Small() = default;
    template <class N, class = std::enable_if_t<std::is_arithmetic_v<N>>>
    Small(N x) : bits(Format::round(static_cast<float>(x))) {}
    operator float() const { return Format::value(bits); }
    Small& operator+=(Small other) { return *this = Small(float(*this) + float(other)); }
    Small& operator*=(Small other) { return *this = Small(float(*this) * float(other)); }
};

}  // namespace cuda_on_cpu

using __half = cuda_on_cpu::Small<cuda_on_cpu::Half>;
using __nv_bfloat16 = cuda_on_cpu::Small<cuda_on_cpu::Brain>;
struct alignas(4) __half2 { __half x, y; };
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return x; }
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
template <> struct cuda_on_cpu::Name<__half> { static constexpr const char* text = "float16"; };
template <> struct cuda_on_cpu::Name<__nv_bfloat16> { static constexpr const char* text = "bfloat16"; };

// -- mathematics that CUDA has and C++ has not

using std::max;
using std::min;
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / ::sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
template <class T> T __ldg(const T* place) { return *place; }
inline unsigned __float_as_uint(float x) { return cuda_on_cpu::bits_of(x); }
inline float __uint_as_float(unsigned bits) { return cuda_on_cpu::float_of(bits); }

#include "tensor_cores_on_cpu.h"

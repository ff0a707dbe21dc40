// CUDA's way of running a kernel, on one thread of a processor: blocks one after another, the threads of a block as
// contexts that take turns. A thread runs until it meets a barrier or an exchange within its warp; what it shares with
// others it sees as they left it. Barriers that not all threads of a block reach are errors, as they are on a device.
//
// Threads outlive their blocks, and take turns by longjmp: swapcontext would ask the kernel twice at every turn.
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <ucontext.h>

using std::cos;
using std::erf;
using std::exp;
using std::fabs;
using std::floor;
using std::isfinite;
using std::log;
using std::pow;
using std::sin;
using std::sqrt;
using std::tanh;

#define __device__ static
#define __shared__ static

struct Place {
    unsigned x, y;
};
static Place threadIdx, blockIdx, blockDim, gridDim;

enum State { READY, AT_BARRIER, AT_EXCHANGE, DONE };
struct Thread {
    std::vector<char> stack;  // empty until it begins
    jmp_buf place_in_code;
    State state;
    Place place;
    char exchanged[16];
};
static std::vector<Thread> threads;
static jmp_buf scheduler;
static unsigned current;
static void (*body)(void **);
static void **arguments;

static void pause(State why) {
    threads[current].state = why;
    if (!_setjmp(threads[current].place_in_code)) _longjmp(scheduler, 1);
}
static void enter() {
    for (;;) {
        body(arguments);
        pause(DONE);
    }
}
static void resume() {
    Thread &thread = threads[current];
    threadIdx = thread.place;
    if (_setjmp(scheduler)) return;
    if (!thread.stack.empty()) _longjmp(thread.place_in_code, 1);
    thread.stack.resize(1 << 15);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = thread.stack.data();
    context.uc_stack.ss_size = thread.stack.size();
    makecontext(&context, enter, 0);
    setcontext(&context);
}
static inline void __syncthreads() { pause(AT_BARRIER); }
static inline void __syncwarp() { pause(AT_EXCHANGE); }
template <class T> static T __shfl_xor_sync(unsigned, T value, int distance) {
    unsigned me = current;
    std::memcpy(threads[me].exchanged, &value, sizeof(T));
    pause(AT_EXCHANGE);
    T other;
    std::memcpy(&other, threads[me ^ distance].exchanged, sizeof(T));
    pause(AT_EXCHANGE);
    return other;
}

// Those in [begin, end) that wait for one another go on together, if all that are not done are there.
static bool release(unsigned begin, unsigned end, State at, bool all) {
    unsigned there = 0, gone = 0;
    for (unsigned t = begin; t < end; ++t) {
        there += threads[t].state == at;
        gone += threads[t].state == DONE;
    }
    if (!there || there + (all ? 0 : gone) != end - begin) return false;
    for (unsigned t = begin; t < end; ++t)
        if (threads[t].state == at) threads[t].state = READY;
    return true;
}

static int run_block(bool backwards) {
    unsigned count = blockDim.x * blockDim.y;
    if (threads.size() < count) threads.resize(count);
    for (unsigned t = 0; t < count; ++t) {
        threads[t].state = READY;
        threads[t].place = {t % blockDim.x, t / blockDim.x};
    }
    for (;;) {
        bool moved = false, waiting = false;
        for (unsigned i = 0; i < count; ++i) {
            unsigned t = backwards ? count - 1 - i : i;
            if (threads[t].state != READY) continue;
            current = t;
            resume();
            moved = true;
        }
        for (unsigned warp = 0; warp < count; warp += 32)
            moved |= release(warp, warp + 32 < count ? warp + 32 : count, AT_EXCHANGE, true);
        moved |= release(0, count, AT_BARRIER, true);
        for (unsigned t = 0; t < count; ++t) waiting |= threads[t].state != DONE;
        if (!waiting) return 0;
        if (!moved) {
            threads.clear();
            return 1;
        }
    }
}

// Returns 0, or 1 where threads wait for others that never come.
static int run(const int *shape, void (*kernel)(void **), void **given, bool cooperative, bool backwards) {
    gridDim = {(unsigned)shape[0], (unsigned)shape[1]};
    blockDim = {(unsigned)shape[2], (unsigned)shape[3]};
    body = kernel;
    arguments = given;
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
            if (cooperative) {
                if (run_block(backwards)) return 1;
                continue;
            }
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel(given);
        }
    return 0;
}

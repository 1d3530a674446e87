#include "pool.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace paceline {
namespace {

constexpr int kSpins = 2000;  // about 50 us: long enough to bridge the gap between two decode steps

// Spins at first; then lets others have the core, since the awaited worker may need this very one.
class Backoff {
public:
    bool spun_out() const { return count_ >= kSpins; }
    void pause() {
        _mm_pause();
        if (++count_ >= kSpins) sched_yield();
    }

private:
    int count_ = 0;
};

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
    syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation, value, nullptr, nullptr, 0);
}

}  // namespace

Phase& Worker::current() const {
    return run_.phases[position_];
}

// Sequentially consistent on both sides: either the last finisher sees the sleeper, or the sleeper sees it.
void Worker::finish(Phase& phase, int chunks) {
    const bool last = phase.done.fetch_add(1) + 1 == static_cast<std::uint32_t>(chunks);
    if (last && phase.awaited.load()) futex(phase.done, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

// Sleeping, unlike yielding, leaves this core idle, and an idle core takes over the worker whose own core is busy
// with somebody else.
void Worker::await(Phase& phase, int chunks) {
    const auto all = static_cast<std::uint32_t>(chunks);
    for (int spins = 0; spins < kSpins; ++spins) {
        if (phase.done.load() >= all) return;
        _mm_pause();
    }
    phase.awaited.store(true);
    std::uint32_t done;
    while ((done = phase.done.load()) < all)
        futex(phase.done, FUTEX_WAIT_PRIVATE, done);
}

Pool::Pool(int num_threads, int max_phases) : max_phases_(max_phases) {
    for (Run& run : ring_)
        run.phases = std::make_unique<Phase[]>(max_phases);
    try {
        for (int index = 1; index < num_threads; ++index) {
            helpers_.push_back(std::make_unique<Helper>());
            Helper& helper = *helpers_.back();
            helper.thread = std::thread([this, &helper, index] { help(helper, index); });
        }
    } catch (...) {
        stop();
        throw;
    }
}

Pool::~Pool() {
    stop();
}

void Pool::stop() {
    stopping_.store(true);
    epoch_.fetch_add(1);
    futex(epoch_, FUTEX_WAKE_PRIVATE, INT32_MAX);
    for (auto& helper : helpers_)
        if (helper->thread.joinable()) helper->thread.join();
}

void Pool::run(std::function<void(Worker&)> job) {
    std::uint32_t number = epoch_.load() + 1;
    if (number == 0) number = 1;  // 0 means outside
    Run& run = ring_[number % kRing];
    for (auto& helper : helpers_) {
        Backoff backoff;
        const auto in_this_slot = [&] {
            const std::uint32_t inside = helper->inside.load();
            return inside != 0 && number - inside >= kRing;
        };
        while (in_this_slot())
            backoff.pause();
    }
    run.job = std::move(job);
    for (int i = 0; i < max_phases_; ++i) {
        run.phases[i].next.store(0, std::memory_order_relaxed);
        run.phases[i].done.store(0, std::memory_order_relaxed);
        run.phases[i].awaited.store(false, std::memory_order_relaxed);
    }
    epoch_.store(number);
    if (sleepers_.load() != 0) futex(epoch_, FUTEX_WAKE_PRIVATE, INT32_MAX);
    Worker caller(0, run);
    run.job(caller);
}

std::uint32_t Pool::await_run(std::uint32_t seen) {
    Backoff backoff;
    std::uint32_t now;
    while ((now = epoch_.load()) == seen) {
        if (!backoff.spun_out()) {
            backoff.pause();
            continue;
        }
        sleepers_.fetch_add(1);
        futex(epoch_, FUTEX_WAIT_PRIVATE, seen);
        sleepers_.fetch_sub(1);
    }
    return now;
}

void Pool::help(Helper& helper, int index) {
    std::uint32_t seen = 0;
    while (true) {
        std::uint32_t number = await_run(seen);
        // Announce first, look again after: the caller reuses a slot only if nobody is announced in it.
        while (true) {
            helper.inside.store(number);
            const std::uint32_t now = epoch_.load();
            if (now == number) break;
            number = now;
        }
        if (stopping_.load()) return;
        Run& run = ring_[number % kRing];
        Worker worker(index, run);
        run.job(worker);
        helper.inside.store(0);
        seen = number;
    }
}

}  // namespace paceline

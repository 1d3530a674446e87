// A few threads that walk through the phases of a run together.
//
// The caller is worker 0. A phase is a number of chunks; a worker takes the next chunk when it is
// free, and a phase ends when every chunk is done, not when every worker has arrived: a worker
// whose core was taken away while it held no chunk delays nobody.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace paceline {

struct alignas(64) Phase {
    std::atomic<int> next{0};
    std::atomic<std::uint32_t> done{0};
    std::atomic<bool> awaited{false};  // somebody sleeps until the last chunk is done
};

struct Run;

class Worker {
public:
    Worker(int index, Run& run) : index_(index), run_(run) {}

    int index() const { return index_; }

    // work(chunk, ahead): `ahead` is the chunk this worker will do after this one, or -1.
    template <class Work>
    void phase(int chunks, Work&& work) {
        Phase& phase = current();
        int chunk = phase.next.fetch_add(1, std::memory_order_relaxed);
        while (chunk < chunks) {
            const int ahead = phase.next.fetch_add(1, std::memory_order_relaxed);
            work(chunk, ahead < chunks ? ahead : -1);
            finish(phase, chunks);
            chunk = ahead;
        }
        await(phase, chunks);
        ++position_;
    }

private:
    Phase& current() const;
    static void finish(Phase& phase, int chunks);
    static void await(Phase& phase, int chunks);

    int index_;
    Run& run_;
    int position_ = 0;
};

struct Run {
    std::function<void(Worker&)> job;
    std::unique_ptr<Phase[]> phases;
};

class Pool {
public:
    // Throws std::system_error when threads cannot be started.
    Pool(int num_threads, int max_phases);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int size() const { return static_cast<int>(helpers_.size()) + 1; }

    // Every worker calls job(worker); returns when worker 0 has, and then every chunk is done. A helper that
    // was late may still enter the job: outside of chunks it may read only what the job itself owns.
    void run(std::function<void(Worker&)> job);

private:
    // A helper that lost its core may still be inside an old run, so runs take turns in a ring.
    static constexpr std::uint32_t kRing = 4;

    struct alignas(64) Helper {
        std::atomic<std::uint32_t> inside{0};  // number of the run it is in, 0 outside
        std::thread thread;
    };

    void help(Helper& helper, int index);
    std::uint32_t await_run(std::uint32_t seen);
    void stop();

    int max_phases_;
    Run ring_[kRing];
    alignas(64) std::atomic<std::uint32_t> epoch_{0};
    alignas(64) std::atomic<std::uint32_t> sleepers_{0};
    std::atomic<bool> stopping_{false};
    std::vector<std::unique_ptr<Helper>> helpers_;
};

}  // namespace paceline

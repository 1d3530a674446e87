// Zeroed memory straight from the kernel, 2 MiB pages where it is large.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <utility>

namespace paceline {

class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t bytes) {
        if (bytes == 0) return;
        const std::size_t slack = bytes >= kHuge ? kHuge : 0;  // room to start on a 2 MiB border
        mapped_ = bytes + slack;
        base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base_ == MAP_FAILED) {
            base_ = nullptr;
            throw std::bad_alloc();
        }
        data_ = base_;
        if (slack != 0) {
            const auto address = reinterpret_cast<std::size_t>(base_);
            data_ = reinterpret_cast<void*>((address + kHuge - 1) / kHuge * kHuge);
            // Fewer TLB misses while weights stream; a refusal costs speed only.
            (void)madvise(data_, bytes / kHuge * kHuge, MADV_HUGEPAGE);
        }
    }
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        if (base_ != nullptr) munmap(base_, mapped_);
    }

    template <class T>
    T* as() const {
        return static_cast<T*>(data_);
    }

private:
    static constexpr std::size_t kHuge = std::size_t{2} << 20;

    void swap(Buffer& other) noexcept {
        std::swap(base_, other.base_);
        std::swap(data_, other.data_);
        std::swap(mapped_, other.mapped_);
    }

    void* base_ = nullptr;
    void* data_ = nullptr;
    std::size_t mapped_ = 0;
};

// A typed array in a Buffer.
template <class T>
class Array {
public:
    Array() = default;
    explicit Array(std::size_t size) : buffer_(size * sizeof(T)), size_(size) {}
    T* data() const { return buffer_.as<T>(); }
    T& operator[](std::size_t index) const { return buffer_.as<T>()[index]; }
    std::size_t size() const { return size_; }

private:
    Buffer buffer_;
    std::size_t size_ = 0;
};

}  // namespace paceline

"""Layer 4: sessions on disk, their store, and the executors that carry a plan out."""

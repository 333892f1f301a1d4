//! The panic-proof supervisor. It knows nothing of sensors.

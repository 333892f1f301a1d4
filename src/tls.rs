//! The one cryptography that TLS uses: *ring*. Two in one binary would leave it open which one is meant, and fail when the
//! first connection is made.

use std::sync::Once;

/// To be called before anything that may speak TLS is made. Again is no harm.
pub fn install_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        if rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
        {
            tracing::debug!("another part of the process has chosen the cryptography for TLS");
        }
    });
}

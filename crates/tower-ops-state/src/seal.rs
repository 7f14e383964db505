use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::hex;

/// Shorter ones can be tried out.
pub(crate) const SHORTEST_KEY: usize = 16;

/// Signs envelopes, and knows those that it signed.
#[derive(Clone)]
pub(crate) struct SigningKey {
    mac: Hmac<Sha256>,
}

impl SigningKey {
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        // HMAC takes keys of every length; the type cannot say so.
        let mac = Hmac::new_from_slice(key).ok()?;
        Some(Self { mac })
    }

    pub(crate) fn sign(&self, head: &[u8]) -> String {
        let mac = self.mac.clone().chain_update(head);
        hex::encode(&mac.finalize().into_bytes())
    }

    /// In constant time.
    pub(crate) fn has_signed(&self, head: &[u8], signature: &[u8]) -> bool {
        let mac = self.mac.clone().chain_update(head);
        hex::decode::<32>(signature).is_some_and(|signature| mac.verify_slice(&signature).is_ok())
    }
}

/// The SHA-256 of bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

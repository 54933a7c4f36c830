//! How large a package may be.

/// Bounds what is read of a package; what is over one of them is refused, and nothing of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageLimits {
    /// Files and directories.
    pub entries_max: u64,
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Bytes of all files together.
    pub total_bytes_max: u64,
    /// Bytes that one byte of an archive may become.
    pub ratio_max: u64,
    /// Bytes to which an archive may grow whatever the ratio: small files of zeros are no attack.
    pub ratio_free_bytes: u64,
}

impl Default for PackageLimits {
    fn default() -> Self {
        Self {
            entries_max: 20_000,
            file_bytes_max: 512 << 20,
            total_bytes_max: 1 << 30,
            ratio_max: 200,
            ratio_free_bytes: 16 << 20,
        }
    }
}

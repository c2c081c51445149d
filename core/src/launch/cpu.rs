//! An older CPU gets a sentence instead of a crash.
//!
//! The program is compiled for x86-64-v3. `is_x86_feature_detected!` says yes to whatever the
//! compiler was told to assume, so the CPU itself is asked, before anything else runs: also before
//! the constructors of linked C++ code, which is RocksDB's and made for the same CPUs.
#![allow(unsafe_code)]

/// The loader calls what stands here before any constructor.
// SAFETY: the section holds pointers to functions of this type; `check` unwinds never and needs
// nothing that a constructor makes.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
#[used]
#[unsafe(link_section = ".preinit_array")]
static CHECK_FIRST: extern "C" fn() = check;

/// Ends the process with a sentence if the CPU lacks what the program was compiled for.
#[inline(never)]
pub(super) extern "C" fn check() {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    if !has_what_was_assumed() {
        use std::io::Write;
        let _ = std::io::stderr().write_all(
            b"error[THW-0701]: this program was built for CPUs of x86-64-v3 (AVX2, BMI2, FMA) \
              and this one is older\n\
              hint: build it here: RUSTFLAGS=-Ctarget-cpu=native cargo build --release -p \
              thalweg-jobs\n",
        );
        std::process::exit(7);
    }
}

/// One test per bit: a comparison with a mask may itself be compiled to what an older CPU lacks.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
#[inline(never)]
fn has_what_was_assumed() -> bool {
    use std::arch::x86_64::__cpuid;
    use std::hint::black_box;
    let has = |register: u32, bit: u32| black_box(register) & black_box(1 << bit) != 0;
    let first = __cpuid(1).ecx;
    // PCLMULQDQ, SSSE3, FMA, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C.
    for bit in [1, 9, 12, 20, 22, 23, 27, 28, 29] {
        if !has(first, bit) {
            return false;
        }
    }
    if __cpuid(0).eax < 7 || __cpuid(0x8000_0000).eax < 0x8000_0001 {
        return false;
    }
    let seventh = std::arch::x86_64::__cpuid_count(7, 0).ebx;
    // BMI1, AVX2, BMI2; then LZCNT.
    has(seventh, 3) && has(seventh, 5) && has(seventh, 8) && has(__cpuid(0x8000_0001).ecx, 5)
}

//! Macros of Thalweg: `#[record]` for what streams carry and state keeps, `#[derive(Key)]` for what
//! keys a stream.
//!
//! Expansions name everything by path, `::thalweg` unless `crate = …` says otherwise, and refuse
//! what they do not support with an error that says what to do instead.

mod key;
mod record;
mod shape;

use proc_macro::TokenStream;

/// Makes a struct or an enum fit to be a record and to be kept as state.
///
/// Derives rkyv's `Archive`, `Serialize` and `Deserialize` and implements `State`. Write other
/// derives as usual; `#[rkyv(...)]` attributes on fields and on the type are handed on.
/// `#[record(crate = path)]` names the crate that re-exports the macro, where it is not
/// `::thalweg`.
///
/// ```ignore
/// #[thalweg::record]
/// #[derive(Clone, Debug)]
/// struct Click {
///     user: u64,
///     page: String,
/// }
/// ```
#[proc_macro_attribute]
pub fn record(arguments: TokenStream, item: TokenStream) -> TokenStream {
    record::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct or an enum a key, encoded field by field.
///
/// `Clone`, `Eq`, `Ord` and `Debug` must be derived beside it. An enum is encoded as the index of
/// its variant in the order of declaration (one byte, two beyond 256 variants) and the variant's
/// fields: new variants belong at the end. `#[key(crate = path)]` names the crate that re-exports
/// the macro, where it is not `::thalweg`.
///
/// ```ignore
/// #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thalweg::Key)]
/// struct Route {
///     from: u32,
///     to: u32,
/// }
/// ```
#[proc_macro_derive(Key, attributes(key))]
pub fn derive_key(item: TokenStream) -> TokenStream {
    key::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

//! The expansion of `#[record]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Result};

use crate::shape::{CratePath, Shape, Variant};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let CratePath(root) = syn::parse2(arguments)?;
    let input: DeriveInput = syn::parse2(item)?;
    let shape = Shape::new(&input, "#[record]")?;
    let name = &shape.name;
    let fingerprint = fingerprint(&shape, &root);
    let arms = shape.variants.iter().map(|variant| {
        let pattern = variant.pattern();
        let bindings = variant.bindings();
        quote!(#pattern => 0 #(+ #root::State::heap_bytes(#bindings))*)
    });
    let asks = shape.variants.iter().map(|variant| {
        let (pattern, bindings) = (variant.pattern(), variant.bindings());
        quote!(#pattern => { #(#root::State::prefetch(#bindings);)* })
    });
    let kinds = shape.variants.iter().flat_map(|variant| &variant.fields).map(|field| &field.kind);
    Ok(quote! {
        #[derive(#root::rkyv::Archive, #root::rkyv::Serialize, #root::rkyv::Deserialize)]
        #[rkyv(crate = #root::rkyv)]
        #input

        #[automatically_derived]
        impl #root::State for #name {
            const FINGERPRINT: u64 = #fingerprint;
            const IS_DEEP: bool = false #(|| <#kinds as #root::State>::IS_DEEP)*;

            #[inline]
            fn heap_bytes(&self) -> usize {
                match self {
                    #(#arms,)*
                }
            }

            #[inline]
            fn prefetch(&self) {
                match self {
                    #(#asks)*
                }
            }
        }
    })
}

fn fingerprint(shape: &Shape, root: &TokenStream) -> TokenStream {
    let name = shape.name.to_string();
    let parts = |variant: &Variant| {
        let parts = variant.fields.iter().map(|field| {
            let (label, kind) = (&field.label, &field.kind);
            quote!((#label, <#kind as #root::State>::FINGERPRINT))
        });
        quote!(&[#(#parts),*])
    };
    if let ([variant], false) = (&*shape.variants, shape.is_enum) {
        let parts = parts(variant);
        return quote!(#root::macros::fingerprint(#name, #parts));
    }
    let variants = shape.variants.iter().map(|variant| {
        let (label, parts) = (&variant.label, parts(variant));
        quote!((#label, #root::macros::fingerprint(#label, #parts)))
    });
    quote!(#root::macros::fingerprint(#name, &[#(#variants),*]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(item: TokenStream) -> String {
        expand(TokenStream::new(), item).expect_err("the item is refused").to_string()
    }

    #[test]
    fn a_struct_is_derived_and_implements_state() {
        let item = quote!(
            struct Click {
                user: u64,
                page: String,
            }
        );
        let tokens = expand(TokenStream::new(), item).expect("a struct is accepted").to_string();
        let file: syn::File = syn::parse_str(&tokens).expect("the expansion is Rust");
        assert_eq!(file.items.len(), 2);
        assert!(tokens.contains(":: thalweg :: rkyv :: Archive"), "{tokens}");
        assert!(tokens.contains("impl :: thalweg :: State for Click"), "{tokens}");
    }

    #[test]
    fn the_crate_can_be_named() {
        let tokens = expand(
            quote!(crate = a::b),
            quote!(
                struct Unit;
            ),
        )
        .expect("a path is accepted");
        assert!(tokens.to_string().contains("impl a :: b :: State for Unit"), "{tokens}");
        assert!(!tokens.to_string().contains("thalweg"), "{tokens}");
    }

    #[test]
    fn generics_unions_and_strange_arguments_are_refused_with_advice() {
        let generic = error(quote!(
            struct Wrapper<T> {
                inner: T,
            }
        ));
        assert!(generic.contains("#[record] does not support generic types"), "{generic}");
        assert!(generic.contains("hint: "), "{generic}");
        let lifetime = error(quote!(
            struct View<'a> {
                text: &'a str,
            }
        ));
        assert!(lifetime.contains("does not support generic types"), "{lifetime}");
        let union = error(quote!(union Bits { a: u32, b: f32 }));
        assert!(union.contains("hint: use an enum"), "{union}");
        let empty = error(quote!(
            enum Never {}
        ));
        assert!(empty.contains("at least one variant"), "{empty}");
        let argument = expand(
            quote!(fast),
            quote!(
                struct Unit;
            ),
        )
        .expect_err("refused");
        assert!(argument.to_string().contains("the only one is `crate = path`"), "{argument}");
    }
}

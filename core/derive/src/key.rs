//! The expansion of `#[derive(Key)]`.
//!
//! Fields go in order; all but the last are prefixed. Those of an enum follow the index of their
//! variant.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, Result};

use crate::shape::{CratePath, Field, Shape, Variant};

/// Variants whose index fits one byte.
const SHORT_INDEX_MAX: usize = 256;

pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let CratePath(root) = crate_path(&input)?;
    let shape = Shape::new(&input, "#[derive(Key)]")?;
    if shape.variants.len() > usize::from(u16::MAX) + 1 {
        let message = "#[derive(Key)] supports up to 65536 variants";
        return Err(Error::new_spanned(&input.ident, message));
    }
    let name = &shape.name;
    let width = width(&shape, &root);
    let arms = |body: &dyn Fn(usize, &Variant) -> TokenStream| {
        let arms = shape.variants.iter().enumerate().map(|(index, variant)| {
            let (pattern, body) = (variant.pattern(), body(index, variant));
            quote!(#pattern => { #body })
        });
        quote!(#(#arms)*)
    };
    let lengths = arms(&|_, variant| encoded_len(&shape, variant, &root));
    let encodes = arms(&|index, variant| encode(&shape, index, variant, &root));
    let matches = arms(&|index, variant| matches(&shape, index, variant, &root));
    let heaps = arms(&|_, variant| {
        let bindings = variant.bindings();
        quote!(0 #(+ #root::Key::heap_bytes(#bindings))*)
    });
    let decode = decode(&shape, &root);
    Ok(quote! {
        #[automatically_derived]
        impl #root::Key for #name {
            const WIDTH: ::core::option::Option<usize> = #width;

            #[inline]
            fn encoded_len(&self) -> usize {
                match self { #lengths }
            }

            #[inline]
            fn encode<__S: #root::KeySink + ?::core::marker::Sized>(&self, __out: &mut __S) {
                match self { #encodes }
            }

            #[inline]
            fn decode(mut __bytes: &[u8]) -> ::core::result::Result<Self, #root::KeyError> {
                let __bytes = &mut __bytes;
                #decode
            }

            #[inline]
            fn matches(&self, __bytes: &[u8]) -> bool {
                match self { #matches }
            }

            #[inline]
            fn heap_bytes(&self) -> usize {
                match self { #heaps }
            }
        }
    })
}

fn crate_path(input: &DeriveInput) -> Result<CratePath> {
    let mut path = CratePath::default();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("key")) {
        path = attribute.parse_args()?;
    }
    Ok(path)
}

fn index_bytes(shape: &Shape) -> usize {
    match shape.variants.len() {
        _ if !shape.is_enum => 0,
        0..=SHORT_INDEX_MAX => 1,
        _ => 2,
    }
}

/// The bytes of a variant's index.
fn index_literal(shape: &Shape, index: usize) -> TokenStream {
    let (high, low) = ((index >> 8) as u8, index as u8);
    match index_bytes(shape) {
        0 => quote!([0u8; 0]),
        1 => quote!([#low]),
        _ => quote!([#high, #low]),
    }
}

fn width(shape: &Shape, root: &TokenStream) -> TokenStream {
    let bytes = index_bytes(shape);
    let widths = shape.variants.iter().map(|variant| {
        let kinds = variant.fields.iter().map(|field| &field.kind);
        quote!(#root::macros::width(&[#(<#kinds as #root::Key>::WIDTH),*]))
    });
    quote!(#root::macros::enum_width(#bytes, &[#(#widths),*]))
}

fn encoded_len(shape: &Shape, variant: &Variant, root: &TokenStream) -> TokenStream {
    let bytes = index_bytes(shape);
    let Some((last, fields)) = variant.fields.split_last() else {
        return quote!(#bytes);
    };
    let (last, fields) = (&last.binding, fields.iter().map(|field| &field.binding));
    quote!(#bytes #(+ #root::Key::prefixed_len(#fields))* + #root::Key::encoded_len(#last))
}

fn encode(shape: &Shape, index: usize, variant: &Variant, root: &TokenStream) -> TokenStream {
    let index = shape.is_enum.then(|| {
        let literal = index_literal(shape, index);
        quote!(#root::KeySink::put(__out, &#literal);)
    });
    let fields = variant.fields.split_last().map(|(last, fields)| {
        let (last, fields) = (&last.binding, fields.iter().map(|field| &field.binding));
        quote! {
            #(#root::Key::encode_prefixed(#fields, __out);)*
            #root::Key::encode(#last, __out);
        }
    });
    quote!(#index #fields)
}

fn matches(shape: &Shape, index: usize, variant: &Variant, root: &TokenStream) -> TokenStream {
    let index = shape.is_enum.then(|| {
        let literal = index_literal(shape, index);
        quote! {
            let ::core::option::Option::Some(__bytes) = __bytes.strip_prefix(&#literal) else {
                return false;
            };
        }
    });
    let Some((last, fields)) = variant.fields.split_last() else {
        return quote!(#index __bytes.is_empty());
    };
    let (last, fields) = (&last.binding, fields.iter().map(|field| &field.binding));
    quote! {
        #index
        let mut __rest = __bytes;
        #(#root::Key::matches_prefixed(#fields, &mut __rest) &&)*
            #root::Key::matches(#last, __rest)
    }
}

fn decode(shape: &Shape, root: &TokenStream) -> TokenStream {
    let bodies = shape.variants.iter().map(|variant| decode_variant(variant, root));
    if !shape.is_enum {
        return quote!(#(#bodies)*);
    }
    let index_type = if index_bytes(shape) == 1 { quote!(u8) } else { quote!(u16) };
    let indices = 0..shape.variants.len() as u64;
    let name = shape.name.to_string();
    quote! {
        match u64::from(<#index_type as #root::Key>::decode_prefixed(__bytes)?) {
            #(#indices => { #bodies })*
            __value => ::core::result::Result::Err(#root::KeyError::Invalid {
                type_name: #name,
                value: __value,
            }),
        }
    }
}

fn decode_variant(variant: &Variant, root: &TokenStream) -> TokenStream {
    let path = &variant.path;
    let Some((last, fields)) = variant.fields.split_last() else {
        return quote! {
            <() as #root::Key>::decode(__bytes)?;
            ::core::result::Result::Ok(#path {})
        };
    };
    let decode = |field: &Field, function: TokenStream| {
        let (member, kind) = (&field.member, &field.kind);
        quote!(#member: <#kind as #root::Key>::#function(__bytes)?)
    };
    let fields = fields.iter().map(|field| decode(field, quote!(decode_prefixed)));
    let last = decode(last, quote!(decode));
    quote!(::core::result::Result::Ok(#path { #(#fields,)* #last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_and_enums_expand_to_an_implementation() {
        for item in [
            quote!(
                struct Route {
                    from: u32,
                    to: u32,
                }
            ),
            quote!(
                struct Pair(u32, String);
            ),
            quote!(
                struct Unit;
            ),
            quote!(
                enum Kind {
                    A,
                    B(u8),
                    C { text: String, number: i64 },
                }
            ),
        ] {
            let tokens = expand(item).expect("the item is accepted");
            let file: syn::File = syn::parse2(tokens).expect("the expansion is Rust");
            assert_eq!(file.items.len(), 1);
        }
    }

    #[test]
    fn an_index_takes_two_bytes_beyond_256_variants() {
        for (count, bytes) in [(1, 1), (256, 1), (257, 2)] {
            let names = (0..count).map(|n| quote::format_ident!("V{n}"));
            let input = syn::parse2(quote!(enum Many { #(#names),* })).expect("an enum");
            let shape = Shape::new(&input, "#[derive(Key)]").expect("a shape");
            assert_eq!(index_bytes(&shape), bytes, "{count} variants");
        }
    }

    #[test]
    fn generics_are_refused_with_advice() {
        let error = expand(quote!(
            struct Id<T>(T);
        ))
        .expect_err("refused")
        .to_string();
        assert!(error.contains("#[derive(Key)] does not support generic types"), "{error}");
        assert!(error.contains("hint: "), "{error}");
        let error = expand(quote!(
            #[key(seed = 1)]
            struct Id(u8);
        ))
        .expect_err("refused");
        assert!(error.to_string().contains("the only one is `crate = path`"), "{error}");
    }
}

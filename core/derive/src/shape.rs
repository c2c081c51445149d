//! What the macros need to know of a type: its variants and fields, and what they refuse.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Data, DeriveInput, Error, Fields, Member, Path, Result, Token, Type};

/// A struct (one variant without a name) or an enum.
pub(crate) struct Shape {
    pub(crate) name: Ident,
    pub(crate) is_enum: bool,
    pub(crate) variants: Vec<Variant>,
}

pub(crate) struct Variant {
    /// `Self` or `Self::Name`.
    pub(crate) path: TokenStream,
    /// The variant's name; empty for a struct.
    pub(crate) label: String,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) member: Member,
    /// The field's name, or its position.
    pub(crate) label: String,
    /// A variable that cannot meet a user's name.
    pub(crate) binding: Ident,
    pub(crate) kind: Type,
}

impl Shape {
    /// Takes a type apart; `macro_name` is how errors call the macro.
    pub(crate) fn new(input: &DeriveInput, macro_name: &str) -> Result<Self> {
        if !input.generics.params.is_empty() {
            let message = format!(
                "{macro_name} does not support generic types: a checkpoint needs one fixed shape\n\
                 hint: write a type for each use, with concrete field types"
            );
            return Err(Error::new_spanned(&input.generics, message));
        }
        let (is_enum, variants) = match &input.data {
            Data::Struct(data) => (false, vec![variant(quote!(Self), String::new(), &data.fields)]),
            Data::Enum(data) if data.variants.is_empty() => {
                let message = format!("{macro_name} needs at least one variant");
                return Err(Error::new_spanned(&input.ident, message));
            }
            Data::Enum(data) => {
                let variants = data.variants.iter().map(|v| {
                    let ident = &v.ident;
                    variant(quote!(Self::#ident), ident.to_string(), &v.fields)
                });
                (true, variants.collect())
            }
            Data::Union(data) => {
                let message = format!("{macro_name} does not support unions\nhint: use an enum");
                return Err(Error::new_spanned(data.union_token, message));
            }
        };
        Ok(Self { name: input.ident.clone(), is_enum, variants })
    }
}

impl Variant {
    /// A pattern that binds every field.
    pub(crate) fn pattern(&self) -> TokenStream {
        let path = &self.path;
        let members = self.fields.iter().map(|field| &field.member);
        let bindings = self.bindings();
        quote!(#path { #(#members: #bindings),* })
    }

    pub(crate) fn bindings(&self) -> impl Iterator<Item = &Ident> {
        self.fields.iter().map(|field| &field.binding)
    }
}

fn variant(path: TokenStream, label: String, fields: &Fields) -> Variant {
    let fields = fields
        .members()
        .zip(fields)
        .enumerate()
        .map(|(index, (member, field))| Field {
            label: member.to_token_stream().to_string(),
            member,
            binding: format_ident!("__field_{index}"),
            kind: field.ty.clone(),
        })
        .collect();
    Variant { path, label, fields }
}

/// The `crate = path` argument.
pub(crate) struct CratePath(pub(crate) TokenStream);

impl Default for CratePath {
    fn default() -> Self {
        Self(quote!(::thalweg))
    }
}

impl Parse for CratePath {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self::default());
        }
        if !input.peek(Token![crate]) {
            return Err(input.error("unknown argument; the only one is `crate = path`"));
        }
        input.parse::<Token![crate]>()?;
        input.parse::<Token![=]>()?;
        let path = input.call(Path::parse_mod_style)?;
        input.parse::<Option<Token![,]>>()?;
        if !input.is_empty() {
            return Err(input.error("unknown argument; the only one is `crate = path`"));
        }
        Ok(Self(path.into_token_stream()))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Schemas of types that are a text in JSON.
#![forbid(unsafe_code)]

/// Implements the schema of a type that is a text in JSON, with a description.
#[macro_export]
macro_rules! text_schema {
    ($type:ty, $about:literal) => {
        impl ::schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": "string", "description": $about })
            }
        }
    };
}

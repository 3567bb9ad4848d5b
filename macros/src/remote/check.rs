//! Rejects functions that cannot be remote. Reports each mistake at its token, with the fix.

use proc_macro2::{Ident, Span};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Error, GenericArgument, GenericParam, Lifetime, PathArguments, Safety, Signature, Type, TypePath, TypeReference,
};

use super::parse::{Kind, Remote};
use super::surroundings::is_associated;

pub(super) fn check(remote: &Remote, errors: &mut Vec<Error>) {
    let signature = &remote.item.sig;
    // A function in a block must be moved first. After that, `Self` and other types may be mistakes.
    if let Some(receiver) = signature.receiver() {
        return refuse(
            errors,
            receiver.span(),
            "a remote function cannot take `self`; make it a free function that takes the value as an argument",
        );
    }
    if is_associated(signature.ident.span()) {
        return refuse(
            errors,
            signature.ident.span(),
            "a remote function cannot be in an `impl` or a `trait`; move it out of the block, to the module, and call \
             it from the block",
        );
    }
    qualifiers(signature, errors);
    generics(signature, errors);
    for param in &remote.params {
        let mut visitor = Argument { errors };
        visitor.visit_type(&param.ty);
    }
    returned(&remote.output.declared, errors);
    let is_never_result = matches!(remote.output.result, None | Some(Kind::Not));
    if let Some(retry_if) = remote.options.retry_if.as_ref().filter(|_| is_never_result) {
        refuse(
            errors,
            retry_if.span(),
            "`retry_if` checks the error of a `Result`, but this function does not return one",
        );
    }
}

fn refuse(errors: &mut Vec<Error>, at: Span, message: &str) {
    errors.push(Error::new(at, message));
}

fn qualifiers(signature: &Signature, errors: &mut Vec<Error>) {
    if let Safety::Unsafe(token) = &signature.safety {
        refuse(errors, token.span(), "a remote function cannot be `unsafe`; use an `unsafe` block in its body");
    }
    if let Some(abi) = &signature.abi {
        refuse(
            errors,
            abi.span(),
            "a remote function must have the Rust ABI; call the `extern` function from its body",
        );
    }
    if let Some(token) = &signature.constness {
        refuse(errors, token.span(), "a remote function cannot be `const`; call the `const fn` from its body");
    }
    if let Some(variadic) = &signature.variadic {
        refuse(errors, variadic.span(), "a remote function cannot be variadic; take a `Vec`");
    }
}

fn generics(signature: &Signature, errors: &mut Vec<Error>) {
    for param in &signature.generics.params {
        match param {
            GenericParam::Lifetime(_) => {}
            GenericParam::Type(param) => refuse(
                errors,
                param.span(),
                "a remote function cannot have type parameters, because workers find it by name; write one remote \
                 function for each type, which calls the generic function",
            ),
            GenericParam::Const(param) => refuse(
                errors,
                param.span(),
                "a remote function cannot have const parameters; make the parameter an ordinary argument",
            ),
        }
    }
}

const SELF_TYPE: &str = "`Self` is not available in a remote function; write the name of the type";

struct Argument<'a> {
    errors: &'a mut Vec<Error>,
}

impl Visit<'_> for Argument<'_> {
    fn visit_type_reference(&mut self, reference: &TypeReference) {
        if let Some(token) = &reference.mutability {
            refuse(
                self.errors,
                token.span(),
                "a worker cannot change the caller's value; take the value and return the changed one",
            );
        }
        if let Some(lifetime) = reference.lifetime.as_ref().filter(|lifetime| lifetime.ident == "static") {
            refuse(
                self.errors,
                lifetime.span(),
                "an argument only lives as long as its call, so it cannot be `'static`; remove `'static`, or take an \
                 owned value such as `String` or `Vec<T>`",
            );
        }
        visit::visit_type_reference(self, reference);
    }

    fn visit_type(&mut self, ty: &Type) {
        match ty {
            Type::ImplTrait(_) => {
                let message = "`impl Trait` is a hidden type parameter, which a remote function cannot have; write a \
                               concrete type";
                refuse(self.errors, ty.span(), message);
            }
            Type::TraitObject(_) => {
                let message = "a trait object cannot be sent to a worker; take an enum or a struct that implements \
                               serde's traits";
                refuse(self.errors, ty.span(), message);
            }
            Type::FnPtr(_) => {
                let message = "a function pointer cannot be sent to a worker; take a value that selects the function";
                refuse(self.errors, ty.span(), message);
            }
            Type::Ptr(_) => {
                let message = "a raw pointer is not valid in another process; take a value or a reference";
                refuse(self.errors, ty.span(), message);
            }
            Type::Path(path) if path.path.is_ident("Self") => refuse(self.errors, ty.span(), SELF_TYPE),
            _ => visit::visit_type(self, ty),
        }
    }
}

/// Checks the declared return type.
///
/// The error of a `Result` can have any type, because the worker converts it to text. The macro does not know which
/// type argument is the error, because `AppResult<T, E>` can be any alias, but the first one never is.
fn returned(declared: &Type, errors: &mut Vec<Error>) {
    let mut visitor = Returned { errors };
    let Type::Path(TypePath { qself: None, path, .. }) = declared else { return visitor.visit_type(declared) };
    let last = path.segments.last();
    let arguments = match last.map(|last| &last.arguments) {
        Some(PathArguments::AngleBracketed(arguments)) if !last.is_some_and(|last| is_map(&last.ident)) => arguments,
        _ => return visitor.visit_type(declared),
    };
    // An alias of `Result` may pass a lifetime on to its error.
    let may_borrow = last.is_some_and(|last| last.ident.to_string().ends_with("Result"));
    let lifetimes = arguments.args.iter().filter(|argument| matches!(argument, GenericArgument::Lifetime(_)));
    if !may_borrow {
        lifetimes.for_each(|lifetime| visitor.visit_generic_argument(lifetime));
    }
    let mut types = arguments.args.iter().filter(|argument| matches!(argument, GenericArgument::Type(_)));
    if let Some(first) = types.next() {
        visitor.visit_generic_argument(first);
    }
    types.for_each(|error| ReturnedError { errors }.visit_generic_argument(error));
}

/// Returns whether the second type argument of a type with this name is a value and not an error.
fn is_map(name: &Ident) -> bool {
    name == "HashMap" || name == "BTreeMap"
}

/// Checks a type argument that can be the error of a result.
struct ReturnedError<'a> {
    errors: &'a mut Vec<Error>,
}

impl Visit<'_> for ReturnedError<'_> {
    fn visit_type(&mut self, ty: &Type) {
        match ty {
            Type::ImplTrait(_) => refuse(
                self.errors,
                ty.span(),
                "write a concrete error type: the worker converts the error to a message",
            ),
            Type::Path(path) if path.path.is_ident("Self") => refuse(self.errors, ty.span(), SELF_TYPE),
            _ => visit::visit_type(self, ty),
        }
    }
}

struct Returned<'a> {
    errors: &'a mut Vec<Error>,
}

impl Visit<'_> for Returned<'_> {
    fn visit_type_reference(&mut self, reference: &TypeReference) {
        if reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static") {
            let message = "a result comes from another process, so it cannot be a reference; return an owned value \
                           such as `String`, `Vec<T>` or `Box<T>`";
            return refuse(self.errors, reference.span(), message);
        }
        refuse(
            self.errors,
            reference.span(),
            "a result comes from another process, so it cannot borrow; return an owned value such as `String` or \
             `Vec<T>`",
        );
    }

    fn visit_lifetime(&mut self, lifetime: &Lifetime) {
        if lifetime.ident != "static" {
            refuse(
                self.errors,
                lifetime.span(),
                "a result comes from another process, so it cannot borrow; return an owned type",
            );
        }
    }

    fn visit_type(&mut self, ty: &Type) {
        match ty {
            Type::ImplTrait(_) => {
                refuse(self.errors, ty.span(), "write a concrete return type, because the caller decodes the result")
            }
            Type::Never(_) => {
                refuse(self.errors, ty.span(), "a remote function must return, so its result cannot be `!`")
            }
            Type::Path(path) if path.path.is_ident("Self") => refuse(self.errors, ty.span(), SELF_TYPE),
            _ => visit::visit_type(self, ty),
        }
    }
}

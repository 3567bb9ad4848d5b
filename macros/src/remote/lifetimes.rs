//! Replaces the lifetimes in types.

use proc_macro2::Span;
use syn::visit_mut::{self, VisitMut};
use syn::{Generics, Lifetime, Type, TypeReference};

/// Returns the type with anonymous lifetimes, which the compiler infers.
pub(super) fn anonymous(ty: &Type) -> Type {
    let mut ty = ty.clone();
    Anonymous.visit_type_mut(&mut ty);
    ty
}

struct Anonymous;

impl VisitMut for Anonymous {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            *lifetime = Lifetime::new("'_", lifetime.span());
        }
    }

    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        // In a turbofish, the compiler infers the lifetime of `&T`.
        if reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident != "static") {
            reference.lifetime = None;
        }
        visit_mut::visit_type_mut(self, &mut reference.elem);
    }
}

/// Returns the type of a result with `'static` in place of the function's lifetimes. Only the error can borrow from the
/// arguments, and it stays in the worker; the generated code uses the type where the function's lifetimes are not in
/// scope.
pub(super) fn with_static(ty: &Type, generics: &Generics) -> Type {
    let mut ty = ty.clone();
    Static(generics).visit_type_mut(&mut ty);
    ty
}

struct Static<'a>(&'a Generics);

impl VisitMut for Static<'_> {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        let is_of_function = self.0.lifetimes().any(|param| param.lifetime == *lifetime);
        if is_of_function || lifetime.ident == "_" {
            *lifetime = Lifetime::new("'static", lifetime.span());
        }
    }

    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        if reference.lifetime.is_none() {
            reference.lifetime = Some(Lifetime::new("'static", Span::call_site()));
        }
        visit_mut::visit_type_reference_mut(self, reference);
    }
}

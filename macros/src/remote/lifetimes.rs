//! Types with other lifetimes than they were written with.

use proc_macro2::Span;
use syn::visit_mut::{self, VisitMut};
use syn::{Generics, Lifetime, Type, TypeReference};

/// The type with its lifetimes left to the compiler.
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
        // `&T` in a turbofish infers as it stands.
        if reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident != "static") {
            reference.lifetime = None;
        }
        visit_mut::visit_type_mut(self, &mut reference.elem);
    }
}

/// The type of a result, without what its error borrows from the arguments: that stays in the worker, and the type
/// is asked where no lifetime of the function is known.
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

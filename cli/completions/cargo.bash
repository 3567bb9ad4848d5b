
# `cargo wren` completes too. Whatever completed `cargo` before still completes the rest of it.
_cargo_wren_or_cargo() {
    local at=1
    [[ ${COMP_WORDS[1]} == +* ]] && at=2
    if [[ $COMP_CWORD -gt $at && ${COMP_WORDS[at]} == wren ]]; then
        _cargo_wren "$@"
    elif [[ -n $_cargo_wren_before ]]; then
        "$_cargo_wren_before" "$@"
    elif [[ -z $_cargo_wren_looked ]]; then
        _cargo_wren_look
        # Bash begins anew.
        return 124
    fi
}

# The package bash-completion loads cargo's completion when it is first needed, in place of this one.
_cargo_wren_look() {
    _cargo_wren_looked=1
    complete -r cargo
    if declare -F _comp_load >/dev/null; then
        _comp_load cargo
    elif declare -F _completion_loader >/dev/null; then
        _completion_loader cargo
    fi
    _cargo_wren_begin
}

_cargo_wren_begin() {
    local spec
    spec=$(complete -p cargo 2>/dev/null)
    if [[ -z $spec ]]; then
        complete -o bashdefault -o default -F _cargo_wren_or_cargo cargo
    elif [[ $spec =~ -F\ ([^ ]+) && ${BASH_REMATCH[1]} != _cargo_wren_or_cargo ]]; then
        _cargo_wren_before=${BASH_REMATCH[1]}
        eval "${spec/-F $_cargo_wren_before/-F _cargo_wren_or_cargo}"
    fi
}

_cargo_wren_begin

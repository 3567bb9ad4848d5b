
# Also completes `cargo wren`. The previous completion of `cargo`, if any, still completes its other subcommands.
_cargo_wren_or_cargo() {
    local at=1
    [[ ${COMP_WORDS[1]} == +* ]] && at=2
    if [[ $COMP_CWORD -gt $at && ${COMP_WORDS[at]} == wren ]]; then
        _cargo_wren "$@"
    elif [[ -n $_cargo_wren_previous ]]; then
        "$_cargo_wren_previous" "$@"
    elif [[ -z $_cargo_wren_loaded ]]; then
        _cargo_wren_load
        # Status 124 makes bash restart the completion.
        return 124
    fi
}

# The package bash-completion loads cargo's completion when it is first needed, and that replaces this one. So it is
# loaded first, and then wrapped.
_cargo_wren_load() {
    _cargo_wren_loaded=1
    complete -r cargo
    if declare -F _comp_load >/dev/null; then
        _comp_load cargo
    elif declare -F _completion_loader >/dev/null; then
        _completion_loader cargo
    fi
    _cargo_wren_install
}

_cargo_wren_install() {
    local spec
    spec=$(complete -p cargo 2>/dev/null)
    if [[ -z $spec ]]; then
        complete -o bashdefault -o default -F _cargo_wren_or_cargo cargo
    elif [[ $spec =~ -F\ ([^ ]+) && ${BASH_REMATCH[1]} != _cargo_wren_or_cargo ]]; then
        _cargo_wren_previous=${BASH_REMATCH[1]}
        eval "${spec/-F $_cargo_wren_previous/-F _cargo_wren_or_cargo}"
    fi
}

_cargo_wren_install

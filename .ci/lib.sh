# shellcheck shell=bash
# shellcheck disable=SC2154
# What demo, check and .ci/run share: installing what is missing, and building. Sourced; `root` is the project's folder.

say() { printf '%s\n' "$*"; }
note() { printf '# %s\n' "$*" >&2; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif [ -t 0 ]; then
		sudo "$@"
	else
		sudo -n "$@"
	fi
}

# missing_packages KIND...: a line a package that is missing, alternatives with |.
missing_packages() {
	local kind package test
	while read -r kind package test; do
		case " $* " in
		*" $kind "*) bash -c "$test" >/dev/null 2>&1 </dev/null || say "$package" ;;
		esac
	done < <(grep -v '^#' "$root/.ci/packages")
}

# known_to_apt A|B: the first that apt knows, or the first.
known_to_apt() {
	local name
	for name in ${1//|/ }; do
		if apt-cache show "$name" >/dev/null 2>&1; then
			say "$name"
			return
		fi
	done
	say "${1%%|*}"
}

# install_missing KIND...: what of these kinds is missing is installed by apt-get, or said plainly.
install_missing() {
	local missing names=() m
	mapfile -t missing < <(missing_packages "$@")
	[ "${#missing[@]}" -gt 0 ] || return 0
	note "missing: ${missing[*]}"
	if ! command -v apt-get >/dev/null; then
		note "there is no apt-get here: install what these Debian packages hold by your system's own means"
	elif [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		note "neither root nor sudo: have somebody run: apt-get install ${missing[*]%%|*}"
	else
		export DEBIAN_FRONTEND=noninteractive
		as_root apt-get update -q >&2 </dev/null || note "apt-get update failed: is there a network?"
		for m in "${missing[@]}"; do names+=("$(known_to_apt "$m")"); done
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${names[@]}" >&2 </dev/null ||
			for m in "${names[@]}"; do # one that cannot be had should not keep the others away
				as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$m" >&2 </dev/null || true
			done
	fi
	mapfile -t missing < <(missing_packages need)
	[ "${#missing[@]}" = 0 ] || die "cannot go on without: ${missing[*]}"
}

# configure DIR [MESON-OPTION...]: a build folder, made or brought up to date; CC as in the environment.
configure() {
	local dir=$1
	shift
	if [ -f "$dir/build.ninja" ] && meson configure "$dir" "$@" >/dev/null 2>&1; then
		return
	fi
	if [ -d "$dir" ]; then
		meson setup --wipe "$dir" "$root" "$@" </dev/null >&2
	else
		meson setup "$dir" "$root" "$@" </dev/null >&2
	fi
}

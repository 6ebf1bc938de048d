# Source this file: it puts the project's Python, ROS 2 and the built package on the paths of the shell.
# LOC3R_UNDERLAY_ONLY=1 leaves the built package out (the build itself needs that).
_loc3r_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
if [ -f "$_loc3r_root/.venv/bin/activate" ]; then
  . "$_loc3r_root/.venv/bin/activate"
  if [ -z "${ROS_DISTRO:-}" ] && [ -f "$_loc3r_root/.venv/ros_env.sh" ]; then
    case ":${AMENT_PREFIX_PATH:-}:" in *":$_loc3r_root/.venv:"*) ;; *) . "$_loc3r_root/.venv/ros_env.sh" ;; esac
  fi
  if [ -z "${LOC3R_UNDERLAY_ONLY:-}" ] && [ -f "$_loc3r_root/install/local_setup.bash" ]; then
    . "$_loc3r_root/install/local_setup.bash"
    export PATH="$_loc3r_root/install/bin:$PATH"
    export PYTHONPATH="$_loc3r_root${PYTHONPATH:+:$PYTHONPATH}"  # the live sources; the built part joins them
    # Fast DDS drops large best-effort images with its default shared-memory segment.
    export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-$_loc3r_root/config/fastdds_large_images.xml}"
    if [ "${ROS_DISTRO:-}" = humble ]; then export FASTRTPS_DEFAULT_PROFILES_FILE="$FASTDDS_DEFAULT_PROFILES_FILE"; fi
  fi
else
  echo "loc3r_ros is not set up here: run \`make setup\` in $_loc3r_root first." >&2
fi
unset _loc3r_root

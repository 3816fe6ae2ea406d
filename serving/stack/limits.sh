# Prints nginx's limits, for all replicas together. nginx takes whole numbers, hence a rate per minute.
# `burst` counts requests above the rate: a client may send twice the rate at once.
exec awk 'BEGIN {
  rate = ENVIRON["MLOPS_REQUESTS_PER_SECOND"]; most = ENVIRON["MLOPS_REQUESTS_AT_ONCE"]
  if (rate * 60 < 1 || most < 1) {
    print "MLOPS_REQUESTS_PER_SECOND and MLOPS_REQUESTS_AT_ONCE must be positive numbers." > "/dev/stderr"
    exit 1
  }
  burst = int(2 * rate) - 1
  printf "limit_req_zone $running_client zone=per_second:10m rate=%dr/m;\n", rate * 60
  printf "limit_req zone=per_second burst=%d nodelay;\n", (burst < 1) ? 1 : burst
  limit_connections("running", most)
  # A request that arrives costs memory only, so more of them may arrive than run.
  limit_connections("receiving", (most < 64) ? 256 : 4 * most)
}
# One client has three quarters: nginx does not know whether others wait.
function limit_connections(name, most) {
  printf "limit_conn_zone $%s zone=%s:1m;\nlimit_conn %s %d;\n", name, name, name, most
  printf "limit_conn_zone $%s_client zone=%s_client:10m;\n", name, name
  printf "limit_conn %s_client %d;\n", name, (most < 2) ? 1 : int(most * 3 / 4)
}'

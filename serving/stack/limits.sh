# Prints nginx's limits, for all replicas together. nginx takes whole numbers, hence a rate per minute.
# `burst` counts requests above the rate: a client may send twice the rate at once.
exec awk 'BEGIN {
  rate = ENVIRON["MLOPS_REQUESTS_PER_SECOND"]; most = ENVIRON["MLOPS_REQUESTS_AT_ONCE"]
  if (rate * 60 < 1 || most < 1) {
    print "MLOPS_REQUESTS_PER_SECOND and MLOPS_REQUESTS_AT_ONCE must be positive numbers." > "/dev/stderr"
    exit 1
  }
  burst = int(2 * rate) - 1
  printf "limit_req_zone $limited_client zone=per_second:10m rate=%dr/m;\n", rate * 60
  printf "limit_req zone=per_second burst=%d nodelay;\n", (burst < 1) ? 1 : burst
  printf "limit_conn_zone $limited zone=at_once:1m;\n"
  printf "limit_conn at_once %d;\n", most
}'

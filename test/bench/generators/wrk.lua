-- What wrk is to report in a form to parse; and with an argument, after how many
-- answers it is to end.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local left = tonumber(args[1])
  if left then
    response = function()
      left = left - 1
      if left == 0 then
        wrk.thread:stop()
        print("DONE")
        io.stdout:flush()
      end
    end
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format("REPORT requests %d status %d socket %d duration %d latency %.1f %.1f %.1f %.1f",
    summary.requests, e.status, e.connect + e.read + e.write + e.timeout, summary.duration,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9)))
end

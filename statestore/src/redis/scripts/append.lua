-- KEYS: log, feed, meta. ARGV: expected, request, bytes, bytes_max, lifetime of the log's key in ms.
local meta = redis.call('HMGET', KEYS[3], 'head', 'bytes')
local head, held = tonumber(meta[1] or 0), tonumber(meta[2] or 0)
local last = tonumber(redis.call('LINDEX', KEYS[1], -1) or 0)
if last <= head then last = 0 end
if last ~= tonumber(ARGV[1]) then return {'conflict', last} end
if held + #ARGV[3] > tonumber(ARGV[4]) then return {'full', held} end
-- The first write is one that a server without memory refuses: then nothing was done.
local seq = redis.call('HINCRBY', KEYS[3], 'seq', 1)
local now = redis.call('TIME')
local at = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('XADD', KEYS[2], seq .. '-0', 'r', ARGV[2], 't', at, 'b', ARGV[3])
redis.call('HINCRBY', KEYS[3], 'bytes', #ARGV[3])
-- Each place is let go of once.
while true do
  local first = redis.call('LINDEX', KEYS[1], 0)
  if not first or tonumber(first) > head then break end
  redis.call('LPOP', KEYS[1])
end
redis.call('RPUSH', KEYS[1], seq)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'stored', seq}

-- KEYS: ready, items, meta. ARGV: payload, bytes_max, channel, queue. Returns bytes held, or -1.
local held = tonumber(redis.call('HGET', KEYS[3], 'queued') or 0)
if held + #ARGV[1] > tonumber(ARGV[2]) then return held end
-- The first write is one that a server without memory refuses: then nothing was done.
local id = redis.call('HINCRBY', KEYS[3], 'item', 1)
redis.call('HINCRBY', KEYS[3], 'queued', #ARGV[1])
redis.call('HSET', KEYS[2], id, ARGV[1])
redis.call('RPUSH', KEYS[1], id)
redis.call('PUBLISH', ARGV[3], ARGV[4])
return -1

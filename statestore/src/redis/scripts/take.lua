-- KEYS: ready, items, tries, hidden. ARGV: max, visibility in ms.
-- Returns when the next item comes back, in ms from now or -1, then id, attempt and payload of each.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local back = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(back) do
  redis.call('ZREM', KEYS[4], id)
  redis.call('RPUSH', KEYS[1], id)
end
local taken, count = {-1}, 0
while count < tonumber(ARGV[1]) do
  local id = redis.call('LPOP', KEYS[1])
  if not id then break end
  local payload = redis.call('HGET', KEYS[2], id)
  -- What was acknowledged after its time stands in the list, and not among the items.
  if payload then
    count = count + 1
    redis.call('ZADD', KEYS[4], string.format('%.0f', now + ARGV[2]), id)
    taken[#taken + 1] = id
    taken[#taken + 1] = redis.call('HINCRBY', KEYS[3], id, 1)
    taken[#taken + 1] = payload
  end
end
local next = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if next[2] then taken[1] = math.max(0, tonumber(next[2]) - now) end
return taken

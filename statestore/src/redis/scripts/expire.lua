-- KEYS: feed, meta. ARGV: age in ms, how many at most. Returns how many went.
local now = redis.call('TIME')
local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[1])
local gone, bytes, head = 0, 0, nil
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[2])) do
  if tonumber(entry[2][4]) > oldest then break end
  gone, bytes, head = gone + 1, bytes + #entry[2][6], string.match(entry[1], '^%d+')
end
if gone > 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', tonumber(head) + 1))
  redis.call('HINCRBY', KEYS[2], 'bytes', 0 - bytes)
  redis.call('HSET', KEYS[2], 'head', head)
end
return gone

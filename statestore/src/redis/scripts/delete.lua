-- KEYS: log, feed, meta.
local bytes = 0
for _, seq in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local entry = redis.call('XRANGE', KEYS[2], seq .. '-0', seq .. '-0')[1]
  if entry then
    bytes = bytes + #entry[2][6]
    redis.call('XDEL', KEYS[2], seq .. '-0')
  end
end
redis.call('DEL', KEYS[1])
redis.call('HINCRBY', KEYS[3], 'bytes', 0 - bytes)
return bytes

-- Sets how long a bucket stays from now.
-- KEYS: the bucket, what is known of it. ARGV: epoch in 20 digits, lease in ms.
local epoch, lease = ARGV[1], tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[2], 'epoch', 'dropped')
local newest, dropped = known[1] or '', known[2]
if epoch < newest then
  return {'stale', newest}
end
if newest == '' or dropped then
  return {'none', newest}
end
-- First of what is written: where there is no memory, what comes after it is done all the same.
redis.call('PEXPIRE', KEYS[1], lease)
redis.call('PEXPIRE', KEYS[2], lease)
if lease > 0 and epoch ~= newest then
  redis.call('HSET', KEYS[2], 'epoch', epoch)
end
return {'done', newest}

-- Drops a bucket, and has it refuse its epoch and below until its lease would have ended.
-- KEYS: the bucket, what is known of it. ARGV: epoch in 20 digits, lease in ms of one that is not known.
local epoch = ARGV[1]
local known = redis.call('HMGET', KEYS[2], 'epoch', 'bytes')
local newest = known[1] or ''
if epoch < newest then
  return {'stale', newest}
end
local values = redis.call('HLEN', KEYS[1])
-- First of what is written: where there is no memory, what comes after it is done all the same.
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[2], 'epoch', epoch, 'dropped', 1, 'bytes', 0)
if redis.call('PTTL', KEYS[2]) < 0 then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return {'done', newest, values, known[2] or 0}

//! S3: `s3s-fs` with atomic conditional writes and the additional operations that deployments need.

mod keys;
mod locks;
mod names;
mod reader;
mod settings;

use std::collections::HashMap;
use std::path::Path;

use async_trait::async_trait;
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use super::Credentials;
use keys::Keys;
use locks::Locks;
use names::path_of;
pub(super) use reader::Reader;
use settings::Buckets;

/// Returns the service. The folders in `root` are its buckets.
pub(super) fn service(root: &Path, credentials: Credentials) -> Result<S3Service, s3s_fs::Error> {
    let objects = Objects {
        files: FileSystem::new(root)?,
        keys: Keys::new(root)?,
        locks: Locks::default(),
        buckets: Buckets::default(),
    };
    let mut builder = S3ServiceBuilder::new(objects);
    builder.set_auth(OneKey(credentials));
    Ok(builder.build())
}

struct OneKey(Credentials);

#[async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key {
            Ok(self.0.secret_key.clone().into())
        } else {
            Err(s3_error!(InvalidAccessKeyId))
        }
    }
}

/// The S3 service on top of `s3s-fs`.
///
/// `s3s-fs` checks whether an object exists before it reads the new body, and writes an object and its metadata one
/// after the other. Here, each key has a lock, for one writer or for several readers. So a conditional write is atomic,
/// and a reader sees a consistent state.
struct Objects {
    files: FileSystem,
    keys: Keys,
    locks: Locks,
    buckets: Buckets,
}

impl Objects {
    async fn exists(&self, bucket: &str, key: &str) -> bool {
        let input = HeadObjectInput { bucket: bucket.to_owned(), key: path_of(key), ..Default::default() };
        self.files.head_object(request(input)).await.is_ok()
    }

    fn note(&self, key: &str) -> S3Result<()> {
        self.keys.note(key).map_err(|e| s3_error!(e, InternalError))
    }

    async fn has_bucket(&self, bucket: String) -> bool {
        let input = HeadBucketInput { bucket, ..Default::default() };
        self.files.head_bucket(request(input)).await.is_ok()
    }
}

fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: hyper::Method::HEAD,
        uri: hyper::Uri::default(),
        headers: hyper::HeaderMap::new(),
        extensions: hyper::http::Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

type Answer<T> = S3Result<S3Response<T>>;

fn done<T: Default>() -> Answer<T> {
    Ok(S3Response::new(T::default()))
}

/// Operations of `s3s-fs` that need no lock.
macro_rules! forward {
    ($($operation:ident($input:ty) -> $output:ty;)*) => {
        $(
            fn $operation<'life0, 'async_trait>(
                &'life0 self,
                request: S3Request<$input>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Answer<$output>> + Send + 'async_trait>>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                self.files.$operation(request)
            }
        )*
    };
}

#[async_trait]
impl S3 for Objects {
    forward! {
        create_bucket(CreateBucketInput) -> CreateBucketOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
        list_buckets(ListBucketsInput) -> ListBucketsOutput;
    }

    async fn create_multipart_upload(
        &self,
        mut request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let key = request.input.key.clone();
        request.input.key = path_of(&key);
        let answer = self.files.create_multipart_upload(request).await?;
        Ok(answer.map_output(|output| CreateMultipartUploadOutput { key: Some(key), ..output }))
    }

    async fn upload_part(&self, mut request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        request.input.key = path_of(&request.input.key);
        self.files.upload_part(request).await
    }

    async fn list_parts(&self, mut request: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        let key = request.input.key.clone();
        request.input.key = path_of(&key);
        let answer = self.files.list_parts(request).await?;
        Ok(answer.map_output(|output| ListPartsOutput { key: Some(key), ..output }))
    }

    async fn abort_multipart_upload(
        &self,
        mut request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        request.input.key = path_of(&request.input.key);
        self.files.abort_multipart_upload(request).await
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        if !self.has_bucket(request.input.bucket.clone()).await {
            return Err(s3_error!(NoSuchBucket, "the bucket does not exist"));
        }
        let page = self.keys.page(request.input).await;
        Ok(S3Response::new(page.map_err(|e| s3_error!(e, InternalError))?))
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        let marker = request.input.marker.clone();
        let page = self.list_objects_v2(request.map_input(Into::into)).await?;
        Ok(page.map_output(|page| ListObjectsOutput {
            contents: page.contents,
            common_prefixes: page.common_prefixes,
            delimiter: page.delimiter,
            encoding_type: page.encoding_type,
            name: page.name,
            prefix: page.prefix,
            marker,
            max_keys: page.max_keys,
            is_truncated: page.is_truncated,
            next_marker: page.next_continuation_token,
            ..Default::default()
        }))
    }

    async fn delete_objects(&self, mut request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        let bucket = request.input.bucket.clone();
        let objects = &mut request.input.delete.objects;
        let named: HashMap<_, _> = objects.iter().map(|object| (path_of(&object.key), object.key.clone())).collect();
        objects.iter_mut().for_each(|object| object.key = path_of(&object.key));
        let answer = self.files.delete_objects(request).await;
        for key in named.values() {
            self.keys.changed(&bucket, key).await;
        }
        let key_of = |path: &mut Option<String>| {
            if let Some(key) = path.as_ref().and_then(|path| named.get(path)) {
                *path = Some(key.clone());
            }
        };
        let mut answer = answer?;
        answer.output.deleted.iter_mut().flatten().for_each(|deleted| key_of(&mut deleted.key));
        answer.output.errors.iter_mut().flatten().for_each(|error| key_of(&mut error.key));
        Ok(answer)
    }

    async fn copy_object(&self, mut request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        request.input.key = path_of(&key);
        if let CopySource::Bucket { key, .. } = &mut request.input.copy_source {
            *key = path_of(key).into();
        }
        self.note(&key)?;
        let _exclusive = self.locks.write(&bucket, &key).await;
        let answer = self.files.copy_object(request).await;
        self.keys.changed(&bucket, &key).await;
        answer
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
        let bucket = request.input.bucket.clone();
        let list = ListObjectsV2Input { bucket: bucket.clone(), max_keys: Some(1), ..Default::default() };
        let left = self.list_objects_v2(self::request(list)).await?;
        if left.output.contents.is_some_and(|objects| !objects.is_empty()) {
            return Err(s3_error!(BucketNotEmpty));
        }
        self.buckets.remove(&bucket);
        let answer = self.files.delete_bucket(request).await;
        self.keys.forget(&bucket).await;
        answer
    }

    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        request.input.key = path_of(&key);
        self.note(&key)?;
        let _exclusive = self.locks.write(&bucket, &key).await;
        let answer = self.files.put_object(request).await;
        self.keys.changed(&bucket, &key).await;
        answer
    }

    async fn complete_multipart_upload(
        &self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        request.input.key = path_of(&key);
        self.note(&key)?;
        let _exclusive = self.locks.write(&bucket, &key).await;
        let absent = request.input.if_none_match.as_ref().is_some_and(ETagCondition::is_any);
        if absent && self.exists(&bucket, &key).await {
            return Err(s3_error!(PreconditionFailed, "the object already exists"));
        }
        let answer = self.files.complete_multipart_upload(request).await;
        self.keys.changed(&bucket, &key).await;
        Ok(answer?.map_output(|output| CompleteMultipartUploadOutput { key: Some(key), ..output }))
    }

    async fn delete_object(&self, mut request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        request.input.key = path_of(&key);
        let _exclusive = self.locks.write(&bucket, &key).await;
        let answer = self.files.delete_object(request).await;
        self.keys.changed(&bucket, &key).await;
        match answer {
            Err(error) if *error.code() == S3ErrorCode::NoSuchKey => done(),
            other => other,
        }
    }

    async fn get_object(&self, mut request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let _shared = self.locks.read(&request.input.bucket, &request.input.key).await;
        request.input.key = path_of(&request.input.key);
        let condition = request.input.if_match.clone();
        let bucket = request.input.bucket.clone();
        let answer = match self.files.get_object(request).await {
            // `s3s-fs` reports a missing key even if the bucket is missing.
            Err(error) if *error.code() == S3ErrorCode::NoSuchKey && !self.has_bucket(bucket).await => {
                return Err(s3_error!(NoSuchBucket, "the bucket does not exist"));
            }
            answer => answer?,
        };
        if let (Some(ETagCondition::ETag(wanted)), Some(found)) = (condition, &answer.output.e_tag)
            && !found.strong_cmp(&wanted)
        {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(answer)
    }

    async fn head_object(&self, mut request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let _shared = self.locks.read(&request.input.bucket, &request.input.key).await;
        request.input.key = path_of(&request.input.key);
        self.files.head_object(request).await
    }

    async fn put_bucket_encryption(
        &self,
        request: S3Request<PutBucketEncryptionInput>,
    ) -> Answer<PutBucketEncryptionOutput> {
        let input = request.input;
        self.buckets.change(&input.bucket, |s| s.encryption = Some(input.server_side_encryption_configuration));
        done()
    }

    async fn get_bucket_encryption(
        &self,
        request: S3Request<GetBucketEncryptionInput>,
    ) -> Answer<GetBucketEncryptionOutput> {
        let code = "ServerSideEncryptionConfigurationNotFoundError";
        let found = self.buckets.get(&request.input.bucket, code, |s| s.encryption)?;
        Ok(S3Response::new(GetBucketEncryptionOutput { server_side_encryption_configuration: Some(found) }))
    }

    async fn put_public_access_block(
        &self,
        request: S3Request<PutPublicAccessBlockInput>,
    ) -> Answer<PutPublicAccessBlockOutput> {
        let input = request.input;
        self.buckets.change(&input.bucket, |s| s.public_access = Some(input.public_access_block_configuration));
        done()
    }

    async fn get_public_access_block(
        &self,
        request: S3Request<GetPublicAccessBlockInput>,
    ) -> Answer<GetPublicAccessBlockOutput> {
        let code = "NoSuchPublicAccessBlockConfiguration";
        let found = self.buckets.get(&request.input.bucket, code, |s| s.public_access)?;
        Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration: Some(found) }))
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        request: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> Answer<PutBucketLifecycleConfigurationOutput> {
        let input = request.input;
        self.buckets.change(&input.bucket, |s| s.lifecycle = input.lifecycle_configuration.map(|c| c.rules));
        done()
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Answer<GetBucketLifecycleConfigurationOutput> {
        let rules = self.buckets.get(&request.input.bucket, "NoSuchLifecycleConfiguration", |s| s.lifecycle)?;
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput { rules: Some(rules), ..Default::default() }))
    }

    async fn delete_bucket_lifecycle(
        &self,
        request: S3Request<DeleteBucketLifecycleInput>,
    ) -> Answer<DeleteBucketLifecycleOutput> {
        self.buckets.change(&request.input.bucket, |s| s.lifecycle = None);
        done()
    }

    async fn put_bucket_tagging(&self, request: S3Request<PutBucketTaggingInput>) -> Answer<PutBucketTaggingOutput> {
        let input = request.input;
        self.buckets.change(&input.bucket, |s| s.tags = Some(input.tagging.tag_set));
        done()
    }

    async fn get_bucket_tagging(&self, request: S3Request<GetBucketTaggingInput>) -> Answer<GetBucketTaggingOutput> {
        let tag_set = self.buckets.get(&request.input.bucket, "NoSuchTagSet", |s| s.tags)?;
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set }))
    }

    async fn put_bucket_policy(&self, request: S3Request<PutBucketPolicyInput>) -> Answer<PutBucketPolicyOutput> {
        let input = request.input;
        self.buckets.change(&input.bucket, |s| s.policy = Some(input.policy));
        done()
    }

    async fn get_bucket_policy(&self, request: S3Request<GetBucketPolicyInput>) -> Answer<GetBucketPolicyOutput> {
        let policy = self.buckets.get(&request.input.bucket, "NoSuchBucketPolicy", |s| s.policy)?;
        Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(policy) }))
    }
}
